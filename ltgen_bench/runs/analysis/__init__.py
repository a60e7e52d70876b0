"""What trained models make of real images: representations, how far the classes lie apart in them, maps of them."""
