"""How far a policy is from the best one, exactly or by sampling."""
