"""Hidden states become prompts: the one-step map, policies, verifiers and SipIt."""
