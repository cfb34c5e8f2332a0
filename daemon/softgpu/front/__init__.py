"""Front ends: from a program's code to ir.Module."""
