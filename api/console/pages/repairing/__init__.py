"""Pages and forms of bulk repairs, holds, and rules of automatic repair."""
