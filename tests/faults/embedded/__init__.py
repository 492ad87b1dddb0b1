"""The real process on embedded engines, for campaigns that fill its disk, flood it, or run it long."""
