"""What every run shares: progress, threads, common options."""
