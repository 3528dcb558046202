"""The emoji that the smaller pipelines draw: animals, food and common things."""

ANIMALS = (
    "bat", "bear", "bird", "butterfly", "camel", "cat", "chicken", "cow", "crab", "crocodile", "deer", "dog",
    "dolphin", "dragon", "duck", "eagle", "elephant", "ewe", "fish", "flamingo", "fox", "frog", "giraffe", "goat",
    "gorilla", "hamster", "hedgehog", "honeybee", "horse", "kangaroo", "koala", "lady beetle", "lion", "lobster",
    "monkey", "mouse", "octopus", "otter", "owl", "panda", "parrot", "peacock", "penguin", "pig", "polar bear",
    "rabbit", "raccoon", "rooster", "sauropod", "shark", "sloth", "snail", "snake", "spider", "spouting whale",
    "squid", "swan", "t-rex", "tiger", "turtle", "unicorn", "wolf", "zebra",
)  # fmt: skip
PLANTS = (
    "cactus", "cherry blossom", "christmas tree", "four leaf clover", "maple leaf", "mushroom", "palm tree", "rose",
    "sunflower", "tulip",
)  # fmt: skip
FOOD = (
    "avocado", "banana", "birthday cake", "bread", "broccoli", "carrot", "cheese wedge", "cherries", "cookie",
    "croissant", "cupcake", "doughnut", "egg", "eggplant", "french fries", "grapes", "green apple", "hamburger",
    "hot beverage", "hot dog", "ice cream", "lemon", "lollipop", "peach", "pear", "pineapple", "pizza", "popcorn",
    "red apple", "strawberry", "sushi", "taco", "tangerine", "tomato", "watermelon",
)  # fmt: skip
THINGS = (
    "airplane", "alarm clock", "automobile", "balloon", "basketball", "bell", "bicycle", "camera", "candle",
    "castle", "crown", "drum", "fire", "full moon", "gem stone", "ghost", "guitar", "hammer", "helicopter", "house",
    "jack-o-lantern", "key", "laptop", "light bulb", "locomotive", "rainbow", "red heart", "ring", "robot",
    "rocket", "sailboat", "snowman", "soccer ball", "star", "sun", "teddy bear", "tractor", "trophy", "umbrella",
    "volcano",
)  # fmt: skip
COMMON = (*ANIMALS, *PLANTS, *FOOD, *THINGS)
"""What `emoji-flux` draws."""
MOVING = (
    "airplane", "balloon", "basketball", "bell", "butterfly", "cactus", "cat", "cookie", "dog", "doughnut", "duck",
    "fish", "frog", "ghost", "green apple", "hamburger", "lemon", "lion", "mushroom", "owl", "panda", "penguin",
    "pig", "rabbit", "red apple", "red heart", "robot", "rocket", "soccer ball", "star", "strawberry", "sunflower",
)  # fmt: skip
"""What `emoji-video` moves."""
