"""NVIDIA Hopper and Blackwell GPUs and NVSwitches: checks G1 to G12."""
