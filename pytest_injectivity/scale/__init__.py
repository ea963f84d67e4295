"""Parts of an audit run side by side in workers: a pool that outlives them, and Ray's workers."""
