"""Hidden states and numbers kept between runs."""
