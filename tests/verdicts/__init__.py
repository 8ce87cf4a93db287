"""How good the verdicts on sentences and words are, measured on generated scenes that nothing was trained or set on."""
