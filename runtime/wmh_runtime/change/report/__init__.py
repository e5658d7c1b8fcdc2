"""What is written of a subject: table, label maps, pictures, plot."""
