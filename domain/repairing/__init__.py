"""Repair of many: bulk repairs and their plan, holds, and rules of automatic repair."""
