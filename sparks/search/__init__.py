"""The problem as one function of z, the meter, the loss and the driver of every solver."""
