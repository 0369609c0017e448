"""Constants of structural similarity, the same in both frameworks.

Source: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004.
"""

WINDOW = 7  # side of the uniform window, in pixels; only windows inside the image count
COVARIANCE_FACTOR = WINDOW**2 / (WINDOW**2 - 1)  # sample covariance instead of population covariance
K1, K2 = 0.01, 0.03
