"""The convolutional networks: U-Nets with a plain encoder, of MONAI, and with VGG16."""
