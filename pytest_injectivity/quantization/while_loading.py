"""What a full-precision checkpoint can be quantized to while it is loaded, by name.

The option ``--injx-quantization`` and the formats share this list. Standard library only: the option
is checked before anything heavy is imported.
"""

WHILE_LOADING = {
    "bnb-nf4": "bnb",
    "bnb-fp4": "bnb",
    "bnb-int8": "bnb",
    "torchao-int8": "torchao",
    "torchao-int4": "torchao",
    "torchao-float8": "torchao",
}
"""The extra of this package that each needs, by name."""
