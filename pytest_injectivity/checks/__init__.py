"""How one layer is judged: measurements in, reasons out. `assertions` joins them into verdicts."""
