"""Any network as an optimizee: torchvision's by name, one's own from a file or a function."""
