"""A model against its reference: what is computed of the geometries of both (SPEC section 2, "Kept")."""
