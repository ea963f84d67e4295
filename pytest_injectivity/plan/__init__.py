"""Predicts what an audit takes, from sizes of model and prompts and from rates of the machine."""
