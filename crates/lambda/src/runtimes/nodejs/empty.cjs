// Loaded once by a spare, so that the loader of such modules has been.
