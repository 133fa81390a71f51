"""The desktop application's room. No window is shipped yet: runs are watched from the command line and in reports."""
