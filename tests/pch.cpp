// Gives the precompiled header an owner.
