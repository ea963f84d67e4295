"""What the checks of an audit share: how arguments are read, pairs are counted, reasons are settled."""
