"""Comparative judgement: batches of essays, the pairs to be judged, the scale fitted to the verdicts."""
