"""From probabilities to lesions."""
