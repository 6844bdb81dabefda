"""The commands of `alpharoute`, one file each."""
