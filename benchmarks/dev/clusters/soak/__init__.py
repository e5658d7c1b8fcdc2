"""Hours of trouble: kills, full disks, vanishing files, clocks that jump, damaged inputs."""
