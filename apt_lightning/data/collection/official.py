"""Label statistics of ChaLearn First Impressions V2, training split, in the order of the traits."""

import numpy as np

STEPS = np.array([107, 96, 91, 103, 90])
"""Labels are k / steps, one number of steps a trait."""
MEAN = np.array([0.476146, 0.520286, 0.548181, 0.522731, 0.566281])
SD = np.array([0.152285, 0.153533, 0.136374, 0.155207, 0.146978])
"""Population standard deviation."""
CORRELATION = np.array(
    [  # E     N     A     C     O
        [1.00, 0.80, 0.71, 0.59, 0.77],
        [0.80, 1.00, 0.73, 0.72, 0.77],
        [0.71, 0.73, 1.00, 0.66, 0.65],
        [0.59, 0.72, 0.66, 1.00, 0.58],
        [0.77, 0.77, 0.65, 0.58, 1.00],
    ]
)
SOURCES = 2624
"""Source videos of the training split."""
