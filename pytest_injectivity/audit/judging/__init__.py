"""Parts that the checks of an audit share: reading arguments, counting pairs, settling reasons."""
