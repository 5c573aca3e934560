"""The gradient strategies, a file for each group; `lpgd_native.gradients` has the public names."""
