"""sysctl(8) for the names of the emulated kernel; every other name is the host's own sysctl's business."""
