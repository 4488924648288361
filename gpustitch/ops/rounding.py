"""What is nothing but rounding: a residue that is compared with 0, or with another residue, says nothing."""

from __future__ import annotations

# Float32 voxels whose standard deviation is below this fraction of their level hold nothing but rounding, and
# similarities nearer to 1 than this are 1.
FLAT = 1e-6
