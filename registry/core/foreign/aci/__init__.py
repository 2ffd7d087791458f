"""ACI receipts of attested gateways (``aci/1``): documents, and the examination."""
