"""Result folders that others can check, merge and run again, and how they are sent to where others find them."""
