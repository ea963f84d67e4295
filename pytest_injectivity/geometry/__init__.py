"""Hidden states become numbers: neighbours, collisions, margins, co-Lipschitz constants."""
