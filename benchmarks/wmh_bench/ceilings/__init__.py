"""Upper limits of the speed of a device: measured matrix multiplications, and peak specs."""
