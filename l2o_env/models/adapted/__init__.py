"""Any network as an optimizee: torchvision's by name, one's own from a file or a function.

``network_config`` says which and how. ``by_name`` makes the network (``file_modules`` those of files), ``weights``
loads its weights, ``heads`` finds its head, ``groups`` its layer groups, ``feature_layers`` its last feature map.
``prepare`` makes a ``backbone`` of all that, ``prepare_dense`` a network of ``segmentation`` or ``fcn8s``.
"""
