"""The shipped plugins, registered through the same entry-point group as anyone's."""
