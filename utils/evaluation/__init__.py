"""From predictions to numbers (`evaluate`), and from numbers to figures and one page (`report`)."""
