"""How a run goes: progress, threads."""
