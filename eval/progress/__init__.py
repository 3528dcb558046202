"""How far a study is: what it is made of, what of it is there, how fast it goes, and how long it will take."""
