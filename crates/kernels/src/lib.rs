//! Vector maths, dense products and attention for CPUs.
