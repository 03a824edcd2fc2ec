"""What departments and their people do with tickets, who handles each, and who takes over."""
