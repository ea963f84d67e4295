"""Many runs in the order of time: which of them compare, what drifted, which verdicts turned red."""
