"""Release steps, one file each; `releases.registry` finds them."""
