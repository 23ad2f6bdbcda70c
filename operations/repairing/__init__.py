"""The operations of repairing many: bulk repairs, holds, and rules of automatic repair."""
