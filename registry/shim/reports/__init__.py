"""Reports: what model servers say of the model that they serve, asked over their own interfaces."""
