"""Everything that talks to instruments, or stands in for one."""
