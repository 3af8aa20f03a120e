"""Word lists of the demo model's small world: products, attributes and support phrases in English and Chinese.

Everything here was written for this project. A line of a list is ``english|chinese``; a product may carry a
third field with ``@spec,spec`` (the measurements that make sense for it, see grammar.SPECS) and one flag:
``p`` for a noun that is plural already, ``u`` for one that is never counted.

What this module does not do: build titles (grammar.py does), and cover shopping in general. One English
entry has exactly one Chinese entry and the other way round; tests/examples/test_demo_grammar.py checks it.
"""

from __future__ import annotations

from dataclasses import dataclass

COLOURS = """
Black|黑色; White|白色; Gray|灰色; Dark Gray|深灰色; Light Gray|浅灰色; Red|红色; Burgundy|酒红色; Pink|粉色
Blue|蓝色; Navy Blue|藏青色; Sky Blue|天蓝色; Light Blue|浅蓝色; Royal Blue|宝蓝色; Green|绿色
Dark Green|深绿色; Mint Green|薄荷绿色; Olive Green|橄榄绿色; Army Green|军绿色; Yellow|黄色
Mustard Yellow|姜黄色; Orange|橙色; Purple|紫色; Lilac|浅紫色; Brown|棕色; Dark Brown|深棕色; Khaki|卡其色
Beige|米色; Off-White|米白色; Champagne|香槟色; Gold|金色; Rose Gold|玫瑰金色; Silver|银色; Transparent|透明
Teal|青色; Coral|珊瑚色; Camel|驼色; Apricot|杏色; Multicolor|彩色
"""

AUDIENCES = """
Men's|男士; Women's|女士; Kids'|儿童; Boys'|男童; Girls'|女童; Unisex|男女通用; Baby|婴儿; Teen|青少年
"""

MODIFIERS = """
Summer|夏季; Winter|冬季; Spring|春季; Autumn|秋季; All-Season|四季通用; Casual|休闲; Business|商务
Vintage|复古; Street|街头; Classic|经典; Elegant|优雅; Fashionable|时尚; Minimalist|简约; Bohemian|波西米亚风
Preppy|学院风; Korean-Style|韩版; Sweet|甜美; Waterproof|防水; Breathable|透气; Non-Slip|防滑
Lightweight|轻便; Quick-Dry|速干; Windproof|防风; Thermal|保暖; Stretch|弹力; Slim-Fit|修身; Loose|宽松
High-Waist|高腰; Long-Sleeve|长袖; Short-Sleeve|短袖; Sleeveless|无袖; V-Neck|V领; Round-Neck|圆领
Turtleneck|高领; Printed|印花; Striped|条纹; Plaid|格纹; Floral|碎花; Plain|纯色; Embroidered|刺绣
Polka Dot|波点; Thick|加厚; Thin|薄款; Sun-Protective|防晒; Seamless|无缝; Wear-Resistant|耐磨; Soft-Sole|软底
Thick-Sole|厚底; Flat-Sole|平底; Pointed-Toe|尖头; Round-Toe|圆头; Slip-On|一脚蹬; Lace-Up|系带; Cotton|纯棉
Linen|亚麻; Wool|羊毛; Silk|真丝; Denim|牛仔; Leather|真皮; Faux Leather|仿皮; Fleece|抓绒; Cashmere|羊绒
Polyester|涤纶; Corduroy|灯芯绒; Velvet|天鹅绒; Canvas|帆布; Suede|麂皮; Mesh|网面; Nylon|尼龙; Modal|莫代尔
Microfiber|超细纤维; Bamboo Fiber|竹纤维; Flannel|法兰绒; Memory Foam|记忆棉; Latex|乳胶
Stainless Steel|不锈钢; Ceramic|陶瓷; Glass|玻璃; Borosilicate Glass|高硼硅玻璃; Cast Iron|铸铁
Aluminum|铝合金; Silicone|硅胶; Plastic|塑料; Bamboo|竹制; Solid Wood|实木; Oak|橡木; Walnut|胡桃木; Pine|松木
Marble|大理石; Acrylic|亚克力; Rattan|藤编; Metal|金属; Wrought Iron|铁艺; Titanium|钛合金; Copper|黄铜
Bone China|骨瓷; Carbon Fiber|碳纤维; Rubber|橡胶; Carbon Steel|碳钢; Crystal|水晶; Paper|纸质; Wooden|木质
Felt|毛毡; Granite|麦饭石; Nordic|北欧风; Rustic|乡村风; Industrial|工业风; Modern|现代; Japanese-Style|日式
Chinese-Style|中式; Handmade|手工; Round|圆形; Square|方形; Rectangular|长方形; Oval|椭圆形; L-Shaped|L形
Foldable|可折叠; Extendable|可伸缩; Adjustable|可调节; Stackable|可叠放; Wall-Mounted|壁挂式; Portable|便携式
Mini|迷你; Large|大号; Medium|中号; Small|小号; Extra Large|特大号; Double-Layer|双层; Three-Tier|三层
Swivel|旋转; Ergonomic|人体工学; Blackout|遮光; Washable|可水洗; Anti-Wrinkle|抗皱; Soft|柔软; Plush|毛绒
Cooling|凉感; Weighted|加重; Absorbent|吸水; Heat-Resistant|耐高温; Non-Stick|不粘; Microwave-Safe|可微波
Leakproof|防漏; Insulated|保温; Airtight|密封; Rustproof|防锈; Shockproof|防震; Scratch-Resistant|防刮
Magnetic|磁吸; Anti-Spy|防窥; Matte|磨砂; Glossy|亮面; Ultra-Thin|超薄; Fast-Charging|快充; Braided|编织
Wireless|无线; Wired|有线; Bluetooth|蓝牙; Noise-Cancelling|降噪; Mechanical|机械; Gaming|电竞; Silent|静音
Curved|曲面; 4K|4K; HD|高清; Smart|智能; Solar|太阳能; Rechargeable|可充电; Touchscreen|触屏; Dual-Band|双频
Voice-Activated|声控; Motion-Sensor|感应; Dimmable|可调光; Energy-Saving|节能; LED|LED; Electric|电动
Manual|手动; Automatic|全自动; Digital|数显; Heavy-Duty|重型; Cordless|无绳; Professional|专业; Household|家用
Commercial|商用; High-Precision|高精度; Multi-Purpose|多功能; High-Capacity|大容量; Reusable|可重复使用
Disposable|一次性; Dustproof|防尘; Moisture-Proof|防潮; Odor-Proof|防臭; Punch-Free|免打孔; Self-Adhesive|自粘
Organic|有机; Natural|天然; Sugar-Free|无糖; Gluten-Free|无麸质; Low-Fat|低脂; Spicy|香辣味; Salted|咸味
Instant|即食; Freeze-Dried|冻干; Premium|特级; Fresh|新鲜; Imported|进口; Vegan|纯素; Roasted|烘烤
Strawberry-Flavored|草莓味; Chocolate-Flavored|巧克力味; Vanilla-Flavored|香草味; Matcha-Flavored|抹茶味
Caramel-Flavored|焦糖味; Mango-Flavored|芒果味; Beef-Flavored|牛肉味; Chicken-Flavored|鸡肉味
Salmon-Flavored|三文鱼味; Tuna-Flavored|金枪鱼味; Grain-Free|无谷; High-Protein|高蛋白; Hypoallergenic|低敏
Hydrating|补水; Moisturizing|保湿; Brightening|提亮; Anti-Aging|抗衰老; Repairing|修护; Soothing|舒缓
Nourishing|滋养; Oil-Control|控油; Anti-Dandruff|去屑; Volumizing|丰盈; Gentle|温和; Exfoliating|去角质
Firming|紧致; Fragrance-Free|无香; Long-Lasting|持久; Smoothing|柔顺; Antibacterial|抗菌; Lavender|薰衣草
Rose|玫瑰; Aloe Vera|芦荟; Coconut|椰子; Tea Tree|茶树; Hyaluronic Acid|玻尿酸; Shea Butter|乳木果
Jasmine|茉莉; Chamomile|洋甘菊; Peppermint|薄荷; Charcoal|活性炭; Collagen|胶原蛋白; Ginger|生姜; Almond|杏仁
Oat|燕麦; Amino Acid|氨基酸; Cherry Blossom|樱花; Sandalwood|檀香; Vitamin C|维生素C; Educational|益智
Interactive|互动; Cute|可爱; Cartoon|卡通; Luminous|夜光; Musical|音乐; Remote-Control|遥控; Inflatable|充气
BPA-Free|不含双酚A; Chew-Resistant|耐咬; Outdoor|户外; Erasable|可擦; Spiral-Bound|线圈; Hardcover|硬壳
Refillable|可替芯; Colorful|多彩; Camouflage|迷彩; Full-Size|全尺寸; Beginner|初学者
"""

FEATURES = """
Pockets|口袋; Hood|帽子; Belt|腰带; Zipper|拉链; Buttons|纽扣; Drawstring|抽绳; Reflective Strips|反光条
Lining|内衬; Chest Pad|胸垫; Arch Support|足弓支撑; Air Cushion|气垫; Fur Lining|毛绒内里
Adjustable Strap|可调肩带; Card Slots|卡槽; USB Port|USB接口; Lid|盖; Handle|手柄; Straw|吸管
Tea Strainer|茶漏; Spoon Rest|勺托; Wooden Handle|木柄; Glass Lid|玻璃盖; Timer|定时器
Temperature Display|温度显示; Thermometer|温度计; Drip Tray|接水盘; Wheels|滚轮; Armrests|扶手; Headrest|头枕
Footrest|脚踏; Drawers|抽屉; Doors|柜门; Storage|储物空间; Mirror|镜子; Remote Control|遥控器
Night Light|小夜灯; Microphone|麦克风; Charging Case|充电盒; Backlight|背光; Wrist Rest|腕托
Carrying Case|收纳包; Stand|支架; Kickstand|折叠支架; Ring Holder|指环支架; Lanyard|挂绳
LED Display|LED显示屏; Cable Organizer|理线器; Built-in Battery|内置电池; Bluetooth Remote|蓝牙遥控器
Suction Cup|吸盘; Hooks|挂钩; Clips|夹子; Pump Head|泵头; Brush Head|刷头; Refill|替换装; Mirror Lid|镜盖
Carrying Strap|背带; Pump|打气泵; Resistance Tube|阻力管; Mosquito Net|蚊帐; Cup Holder|杯架
Storage Bag|收纳袋; Sound Effects|音效; Lights|灯光; Batteries|电池; Storage Case|收纳盒; Stickers|贴纸
Extra Blades|备用刀片; Spare Battery|备用电池; Tool Box|工具箱; Laser Guide|激光指引; Depth Gauge|深度尺
Bell|铃铛; Removable Cover|可拆洗外罩; Water Tray|水盘; Leash|牵引绳; Safety Buckle|安全扣; Rain Cover|防雨罩
Toy Bar|玩具架; Eraser|橡皮; Ruler|尺子; Lock|锁; Index Tabs|索引标签; Phone Slot|手机槽; Hose|软管
Spray Nozzle|喷头; Drainage Holes|排水孔; Tuner|调音器; Music Stand|谱架; Gift Box|礼盒; Gift Card|贺卡
Dust Bag|防尘袋; Filter|滤网
"""

USES = """
Camping|露营; Hiking|徒步; Travel|旅行; Small Spaces|小户型; Beginners|初学者使用; Daily Use|日常使用
Office Use|办公使用; Sensitive Skin|敏感肌; Dry Skin|干性皮肤; Oily Skin|油性皮肤; All Skin Types|各种肤质
Dry Hair|干性发质; Oily Hair|油性发质; Damaged Hair|受损发质; Curly Hair|卷发; Small Dogs|小型犬
Large Dogs|大型犬; Kittens|幼猫; Adult Cats|成猫; Puppies|幼犬; Senior Dogs|老年犬; Indoor Cats|室内猫
Newborns|新生儿; Toddlers|学步儿童; Preschoolers|学龄前儿童; Living Rooms|客厅; Bedrooms|卧室; Kitchens|厨房
Bathrooms|浴室; Balconies|阳台; Dining Rooms|餐厅; Dormitories|宿舍; Gardens|花园; Home Gyms|家庭健身房
Students|学生; Teachers|教师; Artists|画家; Weddings|婚礼; Birthdays|生日; Parties|派对; Picnics|野餐
Running|跑步; Cycling|骑行; Swimming|游泳; Yoga|瑜伽; Video Calls|视频通话; Home Cinema|家庭影院
Music Lovers|音乐爱好者; Induction Cooktops|电磁炉; Gas Stoves|燃气灶; Families|家庭; Baking|烘焙
Meal Prep|备餐; Woodworking|木工; Metalworking|金属加工; Home Repair|家庭维修; Winter Driving|冬季驾驶
Long Trips|长途旅行; SUVs|越野车; Trucks|卡车; Seedlings|育苗; Vegetables|蔬菜种植; Concerts|演奏会
Practice|练习; Breakfast|早餐; Afternoon Tea|下午茶; Hot Pot|火锅; Salads|沙拉
"""

PARTS = """
Filter|滤芯; Battery|电池; Power Cord|电源线; Remote Control|遥控器; Brush Head|刷头; Blade|刀片
Sealing Ring|密封圈; Water Tank|水箱; Motor|电机; Charging Dock|充电座; Ear Pads|耳罩; Dust Bag|集尘袋
Ink Cartridge|墨盒; Switch|开关; Handle|把手
"""

# Tags before a title. Discounts are added by grammar.py.
TAGS = """
New Arrival|新品; Limited Edition|限量版; Hot Sale|热卖; Clearance|清仓; Best Seller|畅销; Free Shipping|包邮
Gift Idea|送礼佳选; Members Only|会员专享; Flash Sale|限时抢购; Pre-Order|预售; Last Chance|最后机会
Official Store|官方正品
"""

# Made-up brand names; they are copied as they are. SYLLABLES makes more of them.
BRANDS = [
    "Velmora",
    "Norquist",
    "Tavaro",
    "Kestrin",
    "Oruvo",
    "Zelandor",
    "Brintola",
    "Quorvex",
    "Mirabow",
    "Fenlark",
    "Dorvane",
    "Halvoro",
    "Ilvanta",
    "Jorvik",
    "Kaldena",
    "Lumaro",
    "Mavorra",
    "Nexolin",
    "Ostrava",
    "Pelluno",
    "Ravindo",
    "Solvetta",
    "Trivaro",
    "Ulmeno",
    "Vandrell",
    "Wexmoor",
    "Xandoro",
    "Yelvane",
    "Zorvina",
    "Ambrelo",
    "Belvarin",
    "Corvelle",
    "Drimora",
    "Elvanto",
    "Farrowin",
    "Glendaro",
    "Hestova",
    "Ingrano",
    "Jovalin",
    "Korwell",
    "Lindaro",
    "Morvenna",
    "Nalvora",
    "Ovendal",
    "Prilano",
    "Quellaro",
    "Rostevin",
    "Silmora",
    "Tolvana",
    "Urvello",
    "Vostrin",
    "Wintaro",
    "Yarvello",
    "Zivanta",
]

SYLLABLES = [
    "bel",
    "bra",
    "cor",
    "da",
    "del",
    "dor",
    "el",
    "fen",
    "fla",
    "gal",
    "gor",
    "hal",
    "ho",
    "il",
    "in",
    "jor",
    "ka",
    "kel",
    "kri",
    "lan",
    "lo",
    "lu",
    "ma",
    "mel",
    "mi",
    "mor",
    "na",
    "nel",
    "no",
    "or",
    "pa",
    "pel",
    "qui",
    "ra",
    "rin",
    "ro",
    "sa",
    "sel",
    "so",
    "sta",
    "tal",
    "ta",
    "ter",
    "ti",
    "to",
    "tri",
    "ul",
    "va",
    "vel",
    "vi",
    "von",
    "wa",
    "win",
    "xa",
    "xo",
    "ya",
    "yel",
    "za",
    "zen",
    "zo",
]

# Parts of freer names, so that the model copies names letter by letter and not only those it knows.
ONSETS = [
    "b",
    "bl",
    "br",
    "c",
    "ch",
    "cl",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gl",
    "gr",
    "h",
    "j",
    "k",
    "kr",
    "l",
    "m",
    "n",
    "p",
    "ph",
    "pl",
    "pr",
    "qu",
    "r",
    "s",
    "sh",
    "sk",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "x",
    "y",
    "z",
]
VOWELS = [
    "a",
    "a",
    "a",
    "e",
    "e",
    "e",
    "i",
    "i",
    "o",
    "o",
    "u",
    "y",
    "ai",
    "au",
    "ea",
    "ee",
    "ei",
    "ia",
    "io",
    "oa",
    "oo",
    "ou",
    "ue",
]
CODAS = (
    "",
    "",
    "",
    "",
    *["n", "n", "r", "l", "s", "t", "x", "d", "ck", "ng", "m", "nd", "rt", "ll", "ss", "th", "ke"],
)
NAME_TAILS = [
    "Tech",
    "Home",
    "Lab",
    "Gear",
    "Life",
    "Star",
    "Works",
    "Fit",
    "Kids",
    "Sound",
    "Power",
    "Go",
    "One",
    "Soft",
    "Zone",
]

DEVICE_SUFFIXES = ("", "", "", "Pro", "Plus", "Max", "Mini", "Lite", "Ultra", "Air", "SE", "Pro Max")


@dataclass(frozen=True)
class Category:
    """One shelf of the shop: what is sold there and which attributes its titles may carry.

    ``layout`` decides the word order: "apparel" puts audience, size and colour where clothes have them,
    "goods" starts with the colour. ``groups`` are modifier groups in the order in which they are written, each
    a probability and a comma-separated list of keys of MODIFIERS. ``counts`` are ways of counting.
    """

    name: str
    layout: str
    heads: str
    groups: tuple[tuple[float, str], ...]
    features: str = ""
    uses: str = ""
    specs: str = ""
    counts: str = ""
    audiences: str = ""
    colours: float = 0.6
    chat: bool = True


_SEASONS = (0.22, "Summer, Winter, Spring, Autumn, All-Season")
_STYLES = (
    0.35,
    "Casual, Business, Vintage, Street, Classic, Elegant, Fashionable, Minimalist, Bohemian, Preppy,"
    " Korean-Style, Sweet",
)
_PATTERNS = (0.25, "Printed, Striped, Plaid, Floral, Plain, Embroidered, Polka Dot")
_HOME_STYLES = (
    0.4,
    "Nordic, Rustic, Industrial, Modern, Japanese-Style, Chinese-Style, Minimalist, Vintage, Handmade",
)
_SIZES = (0.2, "Mini, Large, Medium, Small, Extra Large")
_SHAPES = (0.2, "Round, Square, Rectangular, Oval")

CATEGORIES: tuple[Category, ...] = (
    Category(
        "tops",
        "apparel",
        """
T-Shirt|T恤; Shirt|衬衫; Polo Shirt|Polo衫; Hoodie|连帽卫衣; Sweatshirt|卫衣; Sweater|毛衣; Cardigan|开衫
Vest|马甲; Tank Top|背心; Jacket|夹克; Coat|大衣; Trench Coat|风衣; Down Jacket|羽绒服; Windbreaker|防风衣
Raincoat|雨衣; Blazer|西装外套; Parka|派克服; Bomber Jacket|飞行员夹克; Puffer Vest|羽绒马甲
Tracksuit|运动套装; Pajama Set|睡衣套装; Bathrobe|浴袍; Base Layer Top|打底衫; Crop Top|短上衣
Henley Shirt|亨利衫; Hawaiian Shirt|夏威夷衬衫; Baseball Jacket|棒球服
""",
        (
            _SEASONS,
            _STYLES,
            _PATTERNS,
            (
                0.35,
                "Waterproof, Breathable, Lightweight, Quick-Dry, Windproof, Thermal, Stretch, Thick,"
                " Sun-Protective",
            ),
            (0.25, "Slim-Fit, Loose, V-Neck, Round-Neck, Turtleneck, Long-Sleeve, Short-Sleeve, Sleeveless"),
            (
                0.4,
                "Cotton, Linen, Wool, Silk, Denim, Leather, Faux Leather, Fleece, Cashmere,"
                " Polyester, Corduroy, Velvet",
            ),
        ),
        features="Pockets, Hood, Belt, Zipper, Buttons, Drawstring, Reflective Strips, Lining",
        specs="letter",
        audiences="Men's, Women's, Kids', Boys', Girls', Unisex, Teen",
        colours=0.8,
    ),
    Category(
        "bottoms",
        "apparel",
        """
Jeans|牛仔裤|p; Trousers|长裤|p; Shorts|短裤|p; Leggings|打底裤|p; Sweatpants|卫裤|p; Cargo Pants|工装裤|p
Chinos|卡其裤|p; Joggers|束脚裤|p; Overalls|背带裤|p; Yoga Pants|瑜伽裤|p; Swim Trunks|泳裤|p
Ski Pants|滑雪裤|p; Wide-Leg Pants|阔腿裤|p; Flared Pants|喇叭裤|p; Harem Pants|哈伦裤|p; Suit Pants|西裤|p
Cropped Pants|九分裤|p; Pajama Pants|睡裤|p; Bike Shorts|骑行短裤|p
""",
        (
            _SEASONS,
            _STYLES,
            (
                0.35,
                "Waterproof, Breathable, Lightweight, Quick-Dry, Windproof, Thermal, Stretch, Thick, Thin",
            ),
            (0.25, "Slim-Fit, Loose, High-Waist"),
            (0.35, "Cotton, Linen, Wool, Leather, Faux Leather, Fleece, Polyester, Corduroy, Velvet, Nylon"),
        ),
        features="Pockets, Belt, Zipper, Drawstring, Reflective Strips, Lining",
        specs="letter,waist",
        audiences="Men's, Women's, Kids', Boys', Girls', Unisex, Teen",
        colours=0.8,
    ),
    Category(
        "dresses",
        "apparel",
        """
Dress|连衣裙; Skirt|半身裙; Pleated Skirt|百褶裙; Evening Gown|晚礼服; Wedding Dress|婚纱; Swimsuit|泳衣
Jumpsuit|连体裤; Slip Dress|吊带裙; Wrap Dress|裹身裙; A-Line Skirt|A字裙; Pencil Skirt|包臀裙; Nightgown|睡裙
Shirt Dress|衬衫裙; Tutu Skirt|蓬蓬裙; Sweater Dress|毛衣裙; Qipao|旗袍; Blouse|雪纺衫; Princess Dress|公主裙
""",
        (
            _SEASONS,
            (
                0.4,
                "Casual, Vintage, Classic, Elegant, Fashionable, Minimalist, Bohemian, Preppy,"
                " Korean-Style, Sweet",
            ),
            _PATTERNS,
            (0.3, "Slim-Fit, Loose, High-Waist, V-Neck, Round-Neck, Long-Sleeve, Short-Sleeve, Sleeveless"),
            (0.35, "Cotton, Linen, Silk, Denim, Velvet, Polyester, Modal"),
        ),
        features="Pockets, Belt, Zipper, Buttons, Lining, Chest Pad",
        specs="letter",
        audiences="Women's, Girls'",
        colours=0.8,
    ),
    Category(
        "underwear",
        "apparel",
        """
Socks|袜子|p; Ankle Socks|短袜|p; Knee Socks|及膝袜|p; Tights|连裤袜|p; Boxer Briefs|平角内裤|p
Briefs|三角内裤|p; Undershirt|内衣背心; Long Johns|秋裤|p; Gloves|手套|p; Mittens|连指手套|p
Arm Sleeves|袖套|p; Compression Socks|压力袜|p
""",
        (
            _SEASONS,
            (
                0.4,
                "Breathable, Quick-Dry, Thermal, Stretch, Thick, Thin, Seamless, Antibacterial,"
                " Non-Slip, Odor-Proof",
            ),
            (0.2, "Striped, Plain, Plaid, Printed, Cartoon"),
            (0.5, "Cotton, Wool, Modal, Bamboo Fiber, Cashmere, Nylon, Silk"),
        ),
        specs="letter",
        counts="pairs,pack",
        audiences="Men's, Women's, Kids', Boys', Girls', Unisex, Baby",
        colours=0.7,
        chat=False,
    ),
    Category(
        "shoes",
        "apparel",
        """
Running Shoes|跑鞋|p; Sneakers|运动鞋|p; Canvas Shoes|帆布鞋|p; Hiking Boots|登山靴|p; Hiking Shoes|登山鞋|p
Boots|靴子|p; Ankle Boots|短靴|p; Rain Boots|雨靴|p; Snow Boots|雪地靴|p; Chelsea Boots|切尔西靴|p
Sandals|凉鞋|p; Slippers|拖鞋|p; Flip-Flops|人字拖|p; Loafers|乐福鞋|p; Oxford Shoes|牛津鞋|p
High Heels|高跟鞋|p; Ballet Flats|芭蕾鞋|p; Work Boots|工装靴|p; Basketball Shoes|篮球鞋|p
Soccer Cleats|足球鞋|p; Tennis Shoes|网球鞋|p; Trail Running Shoes|越野跑鞋|p; Dance Shoes|舞蹈鞋|p
Clogs|洞洞鞋|p; Skate Shoes|板鞋|p; Cycling Shoes|骑行鞋|p; Walking Shoes|健步鞋|p; Moccasins|豆豆鞋|p
Cowboy Boots|牛仔靴|p; Dress Shoes|正装皮鞋|p; Water Shoes|溯溪鞋|p; Golf Shoes|高尔夫球鞋|p
Knee-High Boots|长筒靴|p; Mary Jane Shoes|玛丽珍鞋|p
""",
        (
            _SEASONS,
            (0.3, "Casual, Business, Vintage, Classic, Fashionable, Minimalist, Elegant, Street"),
            (
                0.45,
                "Waterproof, Breathable, Non-Slip, Lightweight, Quick-Dry, Thermal, Wear-Resistant,"
                " Shockproof",
            ),
            (0.2, "Soft-Sole, Thick-Sole, Flat-Sole, Pointed-Toe, Round-Toe, Slip-On, Lace-Up"),
            (0.3, "Leather, Faux Leather, Suede, Mesh, Rubber, Velvet"),
        ),
        features="Arch Support, Air Cushion, Fur Lining, Zipper, Reflective Strips",
        specs="shoe",
        audiences="Men's, Women's, Kids', Boys', Girls', Unisex, Teen",
        colours=0.85,
    ),
    Category(
        "accessories",
        "apparel",
        """
Hat|帽子; Baseball Cap|棒球帽; Beanie|毛线帽; Sun Hat|遮阳帽; Bucket Hat|渔夫帽; Scarf|围巾; Belt|腰带
Tie|领带; Bow Tie|领结; Sunglasses|太阳镜|p; Wallet|钱包; Handbag|手提包; Shoulder Bag|单肩包
Crossbody Bag|斜挎包; Tote Bag|托特包; Backpack|双肩包; Waist Bag|腰包; Clutch Bag|手拿包; Travel Bag|旅行袋
Bracelet|手链; Necklace|项链; Earrings|耳环|p; Ring|戒指; Brooch|胸针; Hair Clip|发夹; Headband|发带
Umbrella|雨伞; Shawl|披肩; Briefcase|公文包; Card Holder|卡包; Key Ring|钥匙扣; Beret|贝雷帽; Straw Hat|草帽
Wristwatch|手表; Pocket Watch|怀表; Anklet|脚链; Cufflinks|袖扣|p; Reading Glasses|老花镜|p
Suspenders|背带夹|p; Messenger Bag|邮差包; Coin Purse|零钱包; Passport Holder|护照夹; Ear Muffs|耳罩|p
Face Veil|面纱
""",
        (
            (
                0.4,
                "Casual, Business, Vintage, Classic, Elegant, Fashionable, Minimalist, Bohemian,"
                " Preppy, Korean-Style",
            ),
            (0.15, "Mini, Large, Small"),
            (
                0.25,
                "Waterproof, Lightweight, Foldable, Windproof, Sun-Protective, Handmade,"
                " Wear-Resistant, High-Capacity",
            ),
            (
                0.35,
                "Cotton, Wool, Leather, Faux Leather, Canvas, Nylon, Velvet, Stainless Steel,"
                " Titanium, Crystal",
            ),
        ),
        features="Zipper, Adjustable Strap, Card Slots, Pockets, Gift Box, Gift Card, Dust Bag",
        audiences="Men's, Women's, Kids', Boys', Girls', Unisex",
        colours=0.8,
    ),
    Category(
        "computers",
        "goods",
        """
Keyboard|键盘; Mouse|鼠标|@dpi; Mouse Pad|鼠标垫|@cm2; Monitor|显示器|@inch,hz; Laptop|笔记本电脑|@inch,gb
Tablet|平板电脑|@inch,gb; Desktop Computer|台式电脑|@gb,tb; Printer|打印机; Scanner|扫描仪; Webcam|网络摄像头
Router|路由器; Microphone|麦克风; External Hard Drive|移动硬盘|@tb; Solid State Drive|固态硬盘|@gb,tb
USB Flash Drive|U盘|@gb; Memory Card|存储卡|@gb; Card Reader|读卡器; Docking Station|扩展坞; USB Hub|USB集线器
Graphics Tablet|数位板|@inch; Laptop Stand|笔记本电脑支架; Laptop Sleeve|笔记本电脑内胆包|@inch
Monitor Arm|显示器支架|@inch; Graphics Card|显卡|@gb; Power Strip|插线板|@m; Network Cable|网线|@m
E-Reader|电子书阅读器|@inch,gb; Trackball|轨迹球; Numeric Keypad|数字小键盘; Network Switch|交换机
Cooling Pad|散热底座|@inch; HDMI Cable|HDMI线|@m; Label Printer|标签打印机; Barcode Scanner|条码扫描枪
Game Controller|游戏手柄; Game Console|游戏机|@gb,tb
""",
        (
            (0.2, "Mini, Portable, Ultra-Thin, Professional, Foldable"),
            (0.35, "Gaming, Silent, Mechanical, Ergonomic, Smart, HD, 4K, Curved, Touchscreen, Dual-Band"),
            (0.35, "Wireless, Wired, Bluetooth, Rechargeable"),
        ),
        features=(
            "Backlight, Wrist Rest, USB Port, Stand, Carrying Case, LED Display,"
            " Cable Organizer, Built-in Battery"
        ),
        uses="Office Use, Travel, Students, Video Calls, Daily Use, Small Spaces",
        colours=0.5,
    ),
    Category(
        "audio_video",
        "goods",
        """
Headphones|头戴式耳机|p; Earbuds|入耳式耳机|p; Speaker|音箱|@watt; Soundbar|回音壁|@watt
Television|电视机|@inch; TV Box|电视盒子|@gb; Projector|投影仪|@lumen; Projector Screen|投影幕布|@inch
Security Camera|监控摄像头; Digital Camera|数码相机; Action Camera|运动相机; Camera Lens|相机镜头|@mm
Tripod|三脚架|@cm; Ring Light|环形补光灯|@inch; Drone|无人机; Voice Recorder|录音笔|@gb; Radio|收音机
Record Player|黑胶唱片机; Alarm Clock|闹钟; Fitness Tracker|运动手环; Smartwatch|智能手表; Doorbell|门铃
Door Lock|门锁; Baby Monitor|婴儿监视器|@inch; Karaoke Machine|卡拉OK机|@watt; Music Player|音乐播放器|@gb
Digital Photo Frame|数码相框|@inch; Camera Bag|相机包; Power Amplifier|功放机|@watt; Walkie-Talkie|对讲机
Electronic Dictionary|电子词典; Translator Pen|翻译笔|@gb
""",
        (
            (0.2, "Mini, Portable, Professional, Foldable, Wall-Mounted"),
            (0.35, "Waterproof, Noise-Cancelling, HD, 4K, Touchscreen, Voice-Activated, Gaming, Outdoor"),
            (0.4, "Wireless, Wired, Bluetooth, Rechargeable, Solar"),
        ),
        features=(
            "Charging Case, Microphone, Remote Control, LED Display, Carrying Case, Stand,"
            " Built-in Battery, Night Light"
        ),
        uses="Travel, Running, Home Cinema, Music Lovers, Video Calls, Students, Camping",
        colours=0.55,
    ),
    Category(
        "phone",
        "goods",
        """
Phone Case|手机壳; Screen Protector|屏幕保护膜; Charger|充电器|@watt; Charging Cable|充电线|@m
Data Cable|数据线|@m; Power Bank|充电宝|@mah; Phone Holder|手机支架; Selfie Stick|自拍杆|@cm
Phone Lanyard|手机挂绳; Phone Ring|手机指环扣; Tablet Case|平板保护套|@inch; Keyboard Cover|键盘膜
Watch Strap|表带|@mm; Earbud Case|耳机保护套; Stylus Pen|触控笔; Charging Dock|充电底座|@watt
Power Adapter|电源适配器|@watt; Lens Protector|镜头保护膜; Phone Armband|手机臂包; Phone Cooler|手机散热器
Phone Pouch|手机袋; Wall Charger|壁式充电头|@watt; Extension Cable|延长线|@m; Tablet Stand|平板支架
Screen Cleaner|屏幕清洁剂|u@ml; Card Pouch|手机卡包; USB-C Cable|USB-C数据线|@m; Travel Adapter|旅行转换插头
""",
        (
            (
                0.3,
                "Shockproof, Waterproof, Scratch-Resistant, Anti-Spy, Foldable, Adjustable,"
                " Extendable, Mini, Portable",
            ),
            (
                0.35,
                "Magnetic, Wireless, Fast-Charging, Ultra-Thin, Matte, Glossy, Braided, Cartoon,"
                " High-Capacity",
            ),
            (0.35, "Silicone, Leather, Faux Leather, Glass, Aluminum, Plastic, Carbon Fiber, Nylon, Acrylic"),
        ),
        features=(
            "Kickstand, Ring Holder, Lanyard, Card Slots, LED Display, Suction Cup, Mirror,"
            " USB Port, Bluetooth Remote"
        ),
        uses="Travel, Running, Cycling, Daily Use, Office Use, Swimming",
        counts="pack",
        colours=0.6,
    ),
    Category(
        "cookware",
        "goods",
        """
Frying Pan|煎锅|@cm; Saucepan|奶锅|@cm; Wok|炒锅|@cm; Stockpot|汤锅|@cm,litre; Pressure Cooker|高压锅|@litre
Steamer|蒸锅|@cm; Casserole|砂锅|@litre; Chef's Knife|主厨刀|@inch; Fruit Knife|水果刀
Bread Knife|面包刀|@inch; Knife Set|刀具套装; Knife Block|刀座; Cutting Board|砧板|@cm2; Peeler|削皮器
Grater|刨丝器; Garlic Press|压蒜器; Can Opener|开罐器; Bottle Opener|开瓶器; Spatula|锅铲; Ladle|汤勺
Whisk|打蛋器; Rolling Pin|擀面杖|@cm; Measuring Cup|量杯|@ml; Measuring Spoon|量勺; Mixing Bowl|搅拌碗|@litre
Baking Tray|烤盘|@cm2; Cake Mold|蛋糕模具|@inch; Cookie Cutter|饼干模具; Apron|围裙; Colander|沥水篮|@cm
Kitchen Scale|厨房秤|@kg; Kitchen Timer|厨房计时器; Pot Lid|锅盖|@cm; Ice Cube Tray|冰格; Dish Rack|沥水架
Spice Rack|调料架; Grill Pan|烤肉锅|@cm; Oil Bottle|油壶|@ml; Noodle Maker|压面机; Meat Tenderizer|松肉锤
Kitchen Scissors|厨房剪刀|p; Sieve|筛网|@cm; Milk Frother|奶泡器; Salad Spinner|蔬菜甩干器; Oven Mitt|隔热手套
Trivet|隔热垫|@cm
""",
        (
            _SIZES,
            (0.2, "Professional, Household, Commercial, Japanese-Style, Nordic, Multi-Purpose"),
            (
                0.4,
                "Non-Stick, Heat-Resistant, Rustproof, Foldable, Wall-Mounted, Thick, Antibacterial,"
                " Adjustable",
            ),
            (
                0.55,
                "Stainless Steel, Cast Iron, Aluminum, Silicone, Bamboo, Solid Wood, Titanium,"
                " Glass, Carbon Steel, Granite",
            ),
        ),
        features="Glass Lid, Wooden Handle, Drip Tray, Handle, Timer, Hooks, Thermometer, Spoon Rest",
        uses="Induction Cooktops, Gas Stoves, Families, Baking, Meal Prep, Camping, Beginners",
        counts="setof,pack",
        colours=0.45,
    ),
    Category(
        "tableware",
        "goods",
        """
Bowl|碗; Soup Bowl|汤碗|@inch; Salad Bowl|沙拉碗|@inch; Noodle Bowl|面碗|@inch; Plate|盘子|@inch
Dinner Plate|餐盘|@inch; Dessert Plate|甜品盘|@inch; Mug|马克杯|@ml; Cup|杯子|@ml; Drinking Glass|水杯|@ml
Wine Glass|红酒杯|@ml; Champagne Glass|高脚香槟杯|@ml; Beer Mug|啤酒杯|@ml; Teapot|茶壶|@ml; Tea Cup|茶杯|@ml
Coffee Cup|咖啡杯|@ml; Insulated Bottle|保温杯|@ml; Water Bottle|水瓶|@ml,litre; Lunch Box|饭盒|@ml,litre
Bento Box|便当盒|@ml; Food Container|保鲜盒|@ml,litre; Spice Jar|调料罐|@ml; Storage Jar|储物罐|@ml,litre
Chopsticks|筷子|p; Fork|叉子; Spoon|勺子; Cutlery Set|餐具套装; Placemat|餐垫|@cm2; Coaster|杯垫
Tablecloth|桌布|@cm2; Serving Tray|托盘|@cm2; Water Jug|凉水壶|@litre; Thermos|保温壶|@litre
Cake Stand|蛋糕架|@inch; Sauce Dish|蘸料碟; Gravy Boat|酱汁船; Sugar Bowl|糖罐; Butter Dish|黄油盒
Napkin Holder|餐巾架; Fruit Basket|果篮
""",
        (
            _HOME_STYLES,
            _SIZES,
            (
                0.35,
                "Microwave-Safe, Leakproof, Double-Layer, Airtight, Heat-Resistant, Reusable,"
                " Disposable, Stackable",
            ),
            (
                0.6,
                "Ceramic, Glass, Borosilicate Glass, Stainless Steel, Bamboo, Bone China, Plastic,"
                " Silicone, Wooden, Crystal",
            ),
        ),
        features="Lid, Handle, Straw, Tea Strainer, Spoon Rest, Temperature Display, Gift Box",
        uses="Breakfast, Afternoon Tea, Hot Pot, Salads, Parties, Picnics, Travel, Office Use, Families",
        counts="setof,pack",
        colours=0.55,
    ),
    Category(
        "appliances",
        "goods",
        """
Rice Cooker|电饭煲|@litre; Air Fryer|空气炸锅|@litre; Electric Kettle|电热水壶|@litre; Coffee Machine|咖啡机
Coffee Grinder|咖啡研磨机; Blender|搅拌机|@litre,watt; Juicer|榨汁机|@ml,watt; Toaster|烤面包机|@watt
Oven|烤箱|@litre; Microwave Oven|微波炉|@litre; Bread Maker|面包机|@watt; Hand Mixer|手持打蛋机|@watt
Food Processor|料理机|@litre; Slow Cooker|慢炖锅|@litre; Induction Cooktop|电磁炉|@watt; Egg Boiler|煮蛋器
Waffle Maker|华夫饼机|@watt; Ice Cream Maker|冰淇淋机|@litre; Popcorn Maker|爆米花机
Yogurt Maker|酸奶机|@litre; Soy Milk Maker|豆浆机|@ml; Vacuum Cleaner|吸尘器|@watt; Robot Vacuum|扫地机器人
Steam Mop|蒸汽拖把|@watt; Iron|电熨斗|@watt; Garment Steamer|挂烫机|@watt; Air Purifier|空气净化器
Humidifier|加湿器|@litre; Dehumidifier|除湿机|@litre; Fan|风扇|@inch; Heater|取暖器|@watt
Air Conditioner|空调; Washing Machine|洗衣机|@kg; Refrigerator|冰箱|@litre; Dishwasher|洗碗机
Clothes Dryer|烘干机|@kg; Range Hood|抽油烟机; Water Dispenser|饮水机; Wine Cooler|红酒柜|@litre
Shoe Dryer|烘鞋器|@watt; Insect Killer|灭蚊灯|@watt; Lint Remover|毛球修剪器; Sewing Machine|缝纫机
Food Dehydrator|食物烘干机
""",
        (
            (0.3, "Mini, Portable, Large, Small, Household, Commercial, Wall-Mounted, Foldable"),
            (
                0.45,
                "Smart, Silent, Automatic, Energy-Saving, High-Capacity, Multi-Purpose, Digital,"
                " Touchscreen, Cordless",
            ),
            (0.2, "Stainless Steel, Glass, Plastic, Ceramic"),
        ),
        features="Timer, Temperature Display, Remote Control, Drip Tray, LED Display, Handle, Filter",
        uses="Families, Small Spaces, Dormitories, Kitchens, Bedrooms, Living Rooms, Office Use",
        colours=0.5,
    ),
    Category(
        "furniture",
        "goods",
        """
Chair|椅子; Office Chair|办公椅; Dining Chair|餐椅; Rocking Chair|摇椅; Bar Stool|吧台凳|@cm; Stool|凳子|@cm
Bench|长凳|@cm; Sofa|沙发|@m; Sofa Bed|沙发床|@m; Recliner|躺椅; Bean Bag|懒人沙发; Desk|书桌|@cm2
Computer Desk|电脑桌|@cm2; Standing Desk|升降桌|@cm2; Dining Table|餐桌|@cm2; Coffee Table|茶几|@cm2
Side Table|边几|@cm2; Nightstand|床头柜|@cm2; Bed Frame|床架|@m; Bunk Bed|双人高低床|@m; Wardrobe|衣柜|@cm2
Bookshelf|书架|@cm; Shoe Cabinet|鞋柜|@cm; TV Stand|电视柜|@cm; Dresser|梳妆台|@cm; Filing Cabinet|文件柜|@cm
Display Cabinet|展示柜|@cm; Coat Rack|衣帽架|@cm; Room Divider|屏风|@cm; Kitchen Cart|厨房推车|@cm
Console Table|玄关桌|@cm; Ottoman|脚凳|@cm; Wall Shelf|墙上置物架|@cm; Sideboard|餐边柜|@cm; Crib|婴儿床|@cm
Storage Bench|储物凳|@cm; Bathroom Cabinet|浴室柜|@cm; Folding Table|折叠桌|@cm2; Wine Rack|酒架|@cm
Vanity Stool|梳妆凳
""",
        (
            _HOME_STYLES,
            (0.2, "Large, Small, Double-Layer, Three-Tier"),
            _SHAPES,
            (
                0.35,
                "Adjustable, Extendable, Swivel, Ergonomic, Wall-Mounted, Stackable, Heavy-Duty,"
                " Waterproof, L-Shaped",
            ),
            (
                0.5,
                "Solid Wood, Oak, Walnut, Pine, Marble, Rattan, Metal, Wrought Iron, Leather,"
                " Velvet, Linen, Glass, Bamboo",
            ),
        ),
        features="Wheels, Armrests, Headrest, Footrest, Drawers, Doors, Storage, Mirror, USB Port",
        uses=(
            "Living Rooms, Bedrooms, Dining Rooms, Balconies, Small Spaces, Office Use, Dormitories, Gardens"
        ),
        counts="setof",
        audiences="Kids'",
        colours=0.5,
    ),
    Category(
        "textiles",
        "goods",
        """
Duvet Cover|被套|@cm2; Bed Sheet|床单|@cm2; Pillow|枕头|@cm2; Pillowcase|枕套|@cm2; Quilt|被子|@cm2
Blanket|毯子|@cm2; Mattress|床垫|@cm2; Mattress Protector|床垫保护罩|@cm2; Curtain|窗帘|@cm2; Rug|地毯|@cm2
Doormat|门垫|@cm2; Bath Mat|浴室地垫|@cm2; Towel|毛巾|@cm2; Bath Towel|浴巾|@cm2; Cushion|靠垫|@cm2
Cushion Cover|靠垫套|@cm2; Shower Curtain|浴帘|@cm2; Sofa Cover|沙发套; Chair Cushion|椅垫|@cm2
Bedding Set|床上用品套装; Neck Pillow|颈枕; Body Pillow|长条抱枕|@cm; Hand Towel|擦手巾|@cm2
Beach Towel|沙滩巾|@cm2; Sleep Mask|眼罩; Bed Skirt|床裙|@cm2; Hot Water Bottle|热水袋|@ml
Electric Blanket|电热毯|@cm2; Mosquito Canopy|床幔; Table Runner|桌旗|@cm2; Bedspread|床盖|@cm2
Hair Towel|干发帽; Summer Quilt|夏凉被|@cm2
""",
        (
            _SEASONS,
            (0.3, "Nordic, Rustic, Modern, Japanese-Style, Minimalist, Bohemian, Vintage"),
            (0.25, "Striped, Plaid, Floral, Plain, Printed, Embroidered"),
            (
                0.4,
                "Soft, Washable, Anti-Wrinkle, Blackout, Cooling, Weighted, Absorbent, Non-Slip,"
                " Thick, Quick-Dry",
            ),
            (
                0.5,
                "Cotton, Linen, Wool, Silk, Velvet, Microfiber, Bamboo Fiber, Flannel, Memory Foam,"
                " Latex, Polyester",
            ),
        ),
        features="Zipper, Removable Cover, Storage Bag, Hooks, Gift Box",
        uses="Bedrooms, Living Rooms, Bathrooms, Travel, Dormitories, Kitchens, Afternoon Tea",
        counts="setof,pack",
        audiences="Kids', Baby",
        colours=0.6,
    ),
    Category(
        "decor",
        "goods",
        """
Desk Lamp|台灯|@watt; Floor Lamp|落地灯|@cm; Ceiling Light|吸顶灯|@watt; Pendant Light|吊灯|@watt
Wall Light|壁灯|@watt; Night Light|小夜灯; String Lights|灯串|p@m; Light Bulb|灯泡|@watt; Light Strip|灯带|@m
Candle|蜡烛; Scented Candle|香薰蜡烛|@g; Candle Holder|烛台; Vase|花瓶|@cm; Photo Frame|相框|@inch
Wall Clock|挂钟|@inch; Wall Mirror|壁镜|@cm2; Wall Painting|装饰画|@cm2; Artificial Flowers|仿真花|p
Wall Sticker|墙贴|@cm2; Figurine|摆件|@cm; Aroma Diffuser|香薰机|@ml; Wind Chime|风铃; Tissue Box|纸巾盒
Christmas Tree|圣诞树|@m; Hourglass|沙漏; Piggy Bank|存钱罐; Wallpaper|墙纸|u@m; Dried Flowers|干花|p
Snow Globe|水晶球; Table Mirror|台式镜子; Flashlight|手电筒; Emergency Light|应急灯; Lampshade|灯罩|@cm
Fridge Magnet|冰箱贴; Globe|地球仪|@cm; Calendar|日历; Door Curtain|门帘|@cm2; Lantern|灯笼
Reed Diffuser|藤条香薰|@ml
""",
        (
            _HOME_STYLES,
            _SIZES,
            (
                0.3,
                "Dimmable, Energy-Saving, LED, Solar, Motion-Sensor, Rechargeable, Magnetic,"
                " Self-Adhesive, Smart",
            ),
            (0.45, "Glass, Ceramic, Metal, Wooden, Bamboo, Crystal, Acrylic, Copper, Rattan, Paper, Marble"),
        ),
        features="Remote Control, USB Port, Timer, Stand, Hooks, Clips, Batteries, Gift Box",
        uses="Living Rooms, Bedrooms, Weddings, Birthdays, Parties, Balconies, Kitchens, Bathrooms",
        counts="setof,pack",
        colours=0.5,
    ),
    Category(
        "household",
        "goods",
        """
Storage Box|收纳箱|@litre; Storage Basket|收纳篮|@cm; Mop|拖把; Broom|扫把; Bucket|水桶|@litre
Cleaning Cloth|清洁布|@cm2; Sponge|海绵; Toilet Brush|马桶刷; Laundry Basket|洗衣篮|@litre; Hanger|衣架
Drying Rack|晾衣架|@m; Trash Can|垃圾桶|@litre; Trash Bag|垃圾袋|@litre; Soap Dispenser|皂液器|@ml
Toothbrush Holder|牙刷架; Ironing Board|熨衣板; Shoe Rack|鞋架; Drawer Organizer|抽屉收纳盒
Makeup Organizer|化妆品收纳盒; Vacuum Bag|真空压缩袋|@cm2; Dustpan|簸箕; Squeegee|玻璃刮
Rubber Gloves|橡胶手套|p; Laundry Detergent|洗衣液|u@ml,litre; Dish Soap|洗洁精|u@ml
Fabric Softener|柔顺剂|u@ml,litre; Tissue|抽纸|u@sheets; Toilet Paper|卫生纸|u@rolls
Paper Towel|厨房纸巾|u@rolls; Clothespin|晾衣夹; Step Stool|踏凳|@cm; Towel Rack|毛巾架|@cm
Jewelry Box|首饰盒; Medicine Box|药箱; Hook Rail|挂钩架; Shoe Brush|鞋刷; Laundry Bag|洗衣袋|@cm2
Air Freshener|空气清新剂|u@ml; Mothballs|樟脑丸|p; Umbrella Stand|雨伞架; Dust Cover|防尘罩|@cm2
Shower Caddy|浴室置物架; Lint Roller|粘毛滚筒; Window Cleaner|玻璃清洁剂|u@ml
""",
        (
            _SIZES,
            (
                0.4,
                "Foldable, Stackable, Wall-Mounted, Punch-Free, Dustproof, Moisture-Proof, Reusable,"
                " Disposable, Household",
            ),
            (0.2, "Thick, Non-Slip, Absorbent, Antibacterial, Multi-Purpose, High-Capacity"),
            (0.4, "Plastic, Stainless Steel, Bamboo, Cotton, Silicone, Metal, Acrylic, Felt, Wooden"),
        ),
        features="Lid, Handle, Wheels, Hooks, Drawers, Refill, Suction Cup",
        uses="Bathrooms, Kitchens, Bedrooms, Dormitories, Travel, Balconies, Families",
        counts="setof,pack",
        colours=0.45,
    ),
    Category(
        "skincare",
        "goods",
        """
Face Cream|面霜|u@ml,g; Eye Cream|眼霜|u@ml,g; Hand Cream|护手霜|u@ml,g; Body Lotion|身体乳|u@ml
Shower Gel|沐浴露|u@ml; Facial Cleanser|洗面奶|u@ml,g; Toner|爽肤水|u@ml; Serum|精华液|u@ml
Sunscreen|防晒霜|u@ml; Facial Mask|面膜|@pieces; Lip Balm|润唇膏|@g; Bath Salt|浴盐|u@g
Body Scrub|身体磨砂膏|u@g; Soap|香皂|u@g; Hand Soap|洗手液|u@ml; Toothpaste|牙膏|u@g; Mouthwash|漱口水|u@ml
Massage Oil|按摩油|u@ml; Essential Oil|精油|u@ml; Foot Cream|护足霜|u@g; Night Cream|晚霜|u@ml,g
Face Mist|喷雾|u@ml; Makeup Remover|卸妆水|u@ml; Cleansing Oil|卸妆油|u@ml; Body Oil|身体油|u@ml
Bath Bomb|沐浴球|@g; Eye Mask|眼膜|@pieces; Sheet Mask|贴片面膜|@pieces; Facial Wipes|洁面湿巾|p@pieces
Neck Cream|颈霜|u@ml
""",
        (
            (0.2, "Natural, Organic, Gentle, Premium, Imported"),
            (
                0.5,
                "Hydrating, Moisturizing, Brightening, Anti-Aging, Repairing, Soothing, Nourishing,"
                " Oil-Control, Firming",
            ),
            (0.2, "Exfoliating, Fragrance-Free, Long-Lasting, Smoothing, Antibacterial"),
            (
                0.5,
                "Lavender, Rose, Aloe Vera, Coconut, Tea Tree, Hyaluronic Acid, Shea Butter,"
                " Jasmine, Chamomile, Peppermint,"
                " Charcoal, Collagen, Ginger, Almond, Oat, Amino Acid, Cherry Blossom, Sandalwood, Vitamin C",
            ),
        ),
        features="Pump Head, Refill, Gift Box, Brush Head",
        uses="Sensitive Skin, Dry Skin, Oily Skin, All Skin Types, Travel",
        counts="pack",
        audiences="Men's, Women's, Baby, Kids'",
        colours=0.0,
    ),
    Category(
        "haircare",
        "goods",
        """
Shampoo|洗发水|u@ml; Conditioner|护发素|u@ml; Hair Oil|护发精油|u@ml; Hair Mask|发膜|u@ml,g
Hair Spray|定型喷雾|u@ml; Hair Gel|发胶|u@ml; Hair Dye|染发膏|u@ml; Hair Wax|发蜡|u@g
Scalp Serum|头皮精华|u@ml; Dry Shampoo|免洗喷雾|u@ml; Hair Cream|护发霜|u@ml; Hair Foam|摩丝|u@ml
""",
        (
            (0.2, "Natural, Organic, Gentle, Premium, Imported"),
            (
                0.5,
                "Hydrating, Moisturizing, Repairing, Soothing, Nourishing, Oil-Control, Smoothing,"
                " Anti-Dandruff, Volumizing",
            ),
            (0.2, "Fragrance-Free, Long-Lasting"),
            (
                0.5,
                "Lavender, Rose, Aloe Vera, Coconut, Tea Tree, Jasmine, Peppermint, Ginger,"
                " Amino Acid, Almond",
            ),
        ),
        features="Pump Head, Refill, Gift Box",
        uses="Dry Hair, Oily Hair, Damaged Hair, Curly Hair, Travel",
        counts="pack",
        audiences="Men's, Women's, Baby, Kids'",
        colours=0.0,
    ),
    Category(
        "makeup",
        "goods",
        """
Lipstick|口红|@g; Lip Gloss|唇彩|u@ml; Mascara|睫毛膏|u@ml; Eyeliner|眼线笔; Eyeshadow Palette|眼影盘|@colors
Blush|腮红|u@g; Foundation|粉底液|u@ml; Concealer|遮瑕膏|u@g; Setting Powder|定妆粉|u@g
Nail Polish|指甲油|u@ml; Eyebrow Pencil|眉笔; Highlighter Powder|高光粉|u@g; Makeup Brush Set|化妆刷套装
Makeup Bag|化妆包; Makeup Mirror|化妆镜|@inch; Beauty Sponge|美妆蛋; Eyelash Curler|睫毛夹
False Eyelashes|假睫毛|p; Perfume|香水|u@ml; Lip Liner|唇线笔; Powder Puff|粉扑; Tweezers|镊子|p
Nail Clipper|指甲刀; Nail Lamp|美甲灯|@watt; Hair Dryer|吹风机|@watt; Hair Straightener|直发器
Curling Iron|卷发棒|@mm; Hair Brush|气垫梳; Comb|梳子; Toothbrush|牙刷; Razor|剃须刀; Hair Clipper|理发器
Facial Steamer|蒸脸仪; Cotton Pads|化妆棉|p@pieces; Cotton Swabs|棉签|p@pieces; Water Flosser|冲牙器|@ml
Massage Gun|筋膜枪; Body Fat Scale|体脂秤; Foot Bath|足浴盆; Wig|假发|@cm; Hair Tie|发圈
Nose Hair Trimmer|鼻毛修剪器
""",
        (
            (0.2, "Professional, Mini, Portable, Premium"),
            (0.35, "Waterproof, Long-Lasting, Matte, Glossy, Lightweight, Natural, Silent"),
            (0.25, "Electric, Rechargeable, Wireless, Foldable, Manual"),
        ),
        features="Mirror Lid, Brush Head, Extra Blades, Storage Bag, Gift Box, LED Display, Stand",
        uses="Travel, Beginners, Daily Use, Parties, Weddings, Students",
        counts="setof,pack",
        audiences="Men's, Women's, Kids'",
        colours=0.5,
    ),
    Category(
        "sports",
        "goods",
        """
Yoga Mat|瑜伽垫|@mm; Dumbbell|哑铃|@kg; Kettlebell|壶铃|@kg; Resistance Band|弹力带|@kg; Jump Rope|跳绳|@m
Foam Roller|泡沫轴|@cm; Exercise Bike|健身车; Treadmill|跑步机; Basketball|篮球; Soccer Ball|足球
Volleyball|排球; Tennis Racket|网球拍; Badminton Racket|羽毛球拍; Table Tennis Bat|乒乓球拍; Tennis Ball|网球
Golf Ball|高尔夫球; Swim Goggles|泳镜|p; Swim Cap|泳帽; Bicycle|自行车|@inch; Bike Helmet|骑行头盔
Bike Light|自行车灯|@lumen; Bike Lock|自行车锁; Bike Pump|打气筒; Skateboard|滑板; Kick Scooter|滑板车
Roller Skates|轮滑鞋|p; Fishing Rod|鱼竿|@m; Fishing Reel|渔线轮; Binoculars|双筒望远镜|p; Knee Pad|护膝
Elbow Pad|护肘; Wrist Support|护腕; Boxing Gloves|拳击手套|p; Punching Bag|拳击沙袋|@kg; Ski Goggles|滑雪镜|p
Snowboard|单板滑雪板|@cm; Surfboard|冲浪板|@cm; Life Jacket|救生衣; Frisbee|飞盘|@cm; Dart Board|飞镖盘|@inch
Whistle|口哨; Sports Bottle|运动水壶|@ml; Gym Bag|健身包|@litre; Kayak|皮划艇|@m; Pull-Up Bar|单杠
Balance Board|平衡板; Golf Club|高尔夫球杆; Weight Bench|举重凳; Badminton Shuttlecock|羽毛球
Hula Hoop|呼啦圈|@cm; Ankle Weights|脚踝沙袋|p@kg; Yoga Block|瑜伽砖; Yoga Ball|瑜伽球|@cm
Rowing Machine|划船机; Trampoline|蹦床|@cm; Chess Set|国际象棋; Pool Float|泳池浮排|@cm
""",
        (
            (0.25, "Professional, Beginner, Mini, Household, Outdoor"),
            (
                0.45,
                "Non-Slip, Waterproof, Lightweight, Foldable, Adjustable, Thick, Inflatable,"
                " Breathable, Wear-Resistant",
            ),
            (
                0.35,
                "Carbon Fiber, Aluminum, Rubber, Silicone, Leather, Nylon, Plastic, Latex, Stainless Steel",
            ),
        ),
        features="Storage Bag, Carrying Strap, Pump, Resistance Tube, LED Display, Phone Slot, Cup Holder",
        uses="Beginners, Home Gyms, Yoga, Running, Cycling, Swimming, Students, Travel",
        counts="setof,pack",
        audiences="Men's, Women's, Kids'",
        colours=0.55,
    ),
    Category(
        "outdoor",
        "goods",
        """
Tent|帐篷|@persons; Sleeping Bag|睡袋; Camping Chair|露营椅; Camping Table|露营桌|@cm2
Camping Lantern|露营灯|@lumen; Headlamp|头灯|@lumen; Trekking Pole|登山杖; Hammock|吊床
Picnic Mat|野餐垫|@cm2; Cooler Box|保冷箱|@litre; Compass|指南针; Climbing Rope|攀岩绳|@m
Picnic Basket|野餐篮|@litre; Camping Stove|露营炉; Beach Umbrella|沙滩伞|@m; Hiking Backpack|登山包|@litre
Dry Bag|防水袋|@litre; Air Mattress|充气床垫|@cm2; Multi-Tool|多用工具钳; Survival Whistle|求生哨
Canteen|军用水壶|@litre; Canopy|天幕|@m; Folding Wagon|折叠推车|@kg; Barbecue Grill|烧烤架|@cm
Charcoal Briquette|烧烤炭|u@kg; Mosquito Coil|蚊香; Rain Poncho|雨披; Camping Pot|露营锅|@litre
Telescope|天文望远镜|@mm; Water Bladder|水袋|@litre; Moisture Pad|防潮垫|@cm2; Suitcase|行李箱|@inch
Luggage Tag|行李牌; Packing Cubes|旅行收纳袋|p; Garment Bag|西装袋|@cm
""",
        (
            (0.25, "Outdoor, Professional, Mini, Large, Small"),
            (
                0.45,
                "Waterproof, Lightweight, Foldable, Windproof, Insulated, Adjustable, Automatic,"
                " Rechargeable, Camouflage",
            ),
            (0.35, "Aluminum, Carbon Fiber, Nylon, Canvas, Stainless Steel, Titanium, Cotton, Polyester"),
        ),
        features="Mosquito Net, Cup Holder, Storage Bag, Carrying Strap, Armrests, Wheels, Lock, Rain Cover",
        uses="Camping, Hiking, Picnics, Travel, Families, Beginners, Long Trips",
        counts="pack",
        audiences="Kids'",
        colours=0.6,
    ),
    Category(
        "toys",
        "goods",
        """
Building Blocks|积木|p@count; Jigsaw Puzzle|拼图|@count; Doll|娃娃|@cm; Teddy Bear|泰迪熊|@cm; Toy Car|玩具车
Toy Train|玩具火车; Toy Robot|玩具机器人; Kite|风筝|@m; Board Game|桌游; Playing Cards|扑克牌|p
Rubber Duck|橡皮鸭; Dollhouse|娃娃屋; Toy Kitchen|玩具厨房; Play Tent|游戏帐篷; Water Gun|水枪|@ml
Yo-Yo|悠悠球; Spinning Top|陀螺; Modeling Clay|彩泥|u@colors; Magic Cube|魔方; Toy Airplane|玩具飞机
Toy Boat|玩具船; Toy Drum|玩具鼓; Toy Piano|玩具钢琴; Bubble Machine|泡泡机; Marble Run|弹珠轨道|@count
Drawing Board|画板|@cm2; Science Kit|科学实验套装; Hand Puppet|手偶; Stuffed Rabbit|兔子玩偶|@cm
Stuffed Panda|熊猫玩偶|@cm; Dinosaur Figure|恐龙模型|@cm; Toy Sword|玩具剑; Racing Track|赛车轨道|@m
Toy Phone|玩具电话; Doctor Kit|医生玩具套装; Tea Set Toy|过家家茶具; Tricycle|三轮车
Balance Bike|平衡车|@inch; Sand Toy Set|沙滩玩具套装; Play Mat|爬行垫|@cm2; Bowling Set|保龄球套装
Toy Helicopter|玩具直升机; Toy Excavator|玩具挖掘机; Nesting Dolls|套娃|p; Music Box|音乐盒
Fidget Spinner|指尖陀螺; Balloons|气球|p
""",
        (
            (0.3, "Educational, Interactive, Classic, Cute, Cartoon, Luminous"),
            (0.25, "Mini, Large, Foldable, Inflatable, Magnetic"),
            (0.3, "Remote-Control, Electric, Musical, Rechargeable, Washable, Soft"),
            (0.4, "Wooden, Plastic, Plush, Silicone, Metal, Paper, Cotton"),
        ),
        features="Sound Effects, Lights, Batteries, Storage Case, Stickers, Remote Control, Wheels, Gift Box",
        uses="Toddlers, Preschoolers, Birthdays, Parties, Beginners",
        specs="ages",
        counts="setof,pack",
        audiences="Kids', Boys', Girls', Baby",
        colours=0.45,
    ),
    Category(
        "tools",
        "goods",
        """
Hammer|锤子|@g; Screwdriver|螺丝刀|@mm; Screwdriver Set|螺丝刀套装; Pliers|钳子|p@inch; Wrench|扳手|@mm
Drill|电钻|@volt; Saw|锯子|@mm; Circular Saw|圆锯|@watt; Tape Measure|卷尺|@m; Spirit Level|水平尺|@cm
Utility Knife|美工刀; Toolbox|工具箱|@inch; Ladder|梯子|@m; Soldering Iron|电烙铁|@watt
Glue Gun|热熔胶枪|@watt; Heat Gun|热风枪|@watt; Angle Grinder|角磨机|@watt; Sander|砂光机|@watt
Chisel|凿子|@mm; File|锉刀|@mm; Clamp|夹具|@mm; Paint Brush|油漆刷|@inch; Paint Roller|滚筒刷|@inch
Spray Gun|喷枪|@ml; Multimeter|万用表; Laser Level|激光水平仪; Drill Bit Set|钻头套装
Hex Key Set|内六角扳手套装; Socket Set|套筒扳手套装; Safety Glasses|护目镜|p; Work Gloves|劳保手套|p
Hard Hat|安全帽; Ear Protectors|隔音耳罩|p; Extension Cord|接线板|@m; Electrical Tape|电工胶带|u@m
Duct Tape|布基胶带|u@m; Super Glue|强力胶|u@g; Axe|斧头; Crowbar|撬棍|@cm; Pressure Washer|高压清洗机|@watt
Air Compressor|空压机|@litre; Chainsaw|链锯|@inch; Nail Gun|射钉枪; Workbench|工作台|@cm
Stud Finder|墙体探测仪; Tool Belt|工具腰包; Wire Stripper|剥线钳; Bolt Cutter|断线钳|@inch
Hand Truck|手推车|@kg; Padlock|挂锁|@mm; Screws|螺丝|p@count; Wall Anchors|膨胀螺栓|p@count
""",
        (
            (0.25, "Professional, Household, Heavy-Duty, Mini"),
            (
                0.35,
                "Multi-Purpose, High-Precision, Adjustable, Extendable, Magnetic, Rustproof,"
                " Foldable, Digital",
            ),
            (0.25, "Electric, Cordless, Manual, Rechargeable"),
            (0.3, "Carbon Steel, Stainless Steel, Aluminum, Rubber, Plastic"),
        ),
        features=(
            "Tool Box, Spare Battery, Extra Blades, Laser Guide, Depth Gauge, Wooden Handle, LED Display"
        ),
        uses="Woodworking, Metalworking, Home Repair, Beginners, Gardens",
        counts="setof,pack",
        colours=0.35,
    ),
    Category(
        "food",
        "goods",
        """
Green Tea|绿茶|u; Black Tea|红茶|u; Oolong Tea|乌龙茶|u; Coffee Beans|咖啡豆|p; Ground Coffee|咖啡粉|u
Hot Chocolate|热可可粉|u; Milk Powder|奶粉|u; Honey|蜂蜜|u; Peanut Butter|花生酱|u
Olive Oil|橄榄油|u@ml,litre; Soy Sauce|酱油|u@ml; Rice Vinegar|米醋|u@ml; Chili Sauce|辣椒酱|u
Tomato Ketchup|番茄酱|u; Sesame Oil|芝麻油|u@ml; Rice|大米|u@kg; Noodles|面条|p; Pasta|意大利面|u
Cookies|曲奇饼干|p; Crackers|苏打饼干|p; Potato Chips|薯片|p; Popcorn|爆米花|u; Dark Chocolate|黑巧克力|u
Milk Chocolate|牛奶巧克力|u; Gummy Candy|软糖|u; Marshmallows|棉花糖|p; Dried Mango|芒果干|u; Raisins|葡萄干|p
Dried Cranberries|蔓越莓干|p; Cashews|腰果|p; Almonds|巴旦木|p; Walnuts|核桃|p; Pistachios|开心果|p
Mixed Nuts|混合坚果|p; Sunflower Seeds|葵花籽|p; Beef Jerky|牛肉干|u; Canned Tuna|金枪鱼罐头|u
Oatmeal|燕麦片|u; Granola|格兰诺拉麦片|u; Protein Bar|蛋白棒; Energy Drink|能量饮料|@ml
Orange Juice|橙汁|u@ml,litre; Apple Juice|苹果汁|u@ml,litre; Mineral Water|矿泉水|u@ml,litre
Sparkling Water|气泡水|u@ml; Coconut Milk|椰奶|u@ml; Soy Milk|豆奶|u@ml,litre; Red Wine|红葡萄酒|u@ml
White Wine|白葡萄酒|u@ml; Sea Salt|海盐|u; Black Pepper|黑胡椒|u; Brown Sugar|红糖|u; Flour|面粉|u@kg
Dumplings|饺子|p; Sausage|香肠; Seaweed Snack|海苔|u; Rice Crackers|米饼|p; Mooncake|月饼; Fruit Jam|果酱|u
Maple Syrup|枫糖浆|u@ml; Vitamin Tablets|维生素片|p@tablets; Fish Oil|鱼油|u@capsules
Protein Powder|蛋白粉|u@kg; Lentils|扁豆|p; Chickpeas|鹰嘴豆|p; Quinoa|藜麦|u; Dried Mushrooms|香菇干|p
Curry Powder|咖喱粉|u
""",
        (
            (0.35, "Organic, Natural, Premium, Imported, Fresh, Vegan, Handmade"),
            (0.3, "Sugar-Free, Gluten-Free, Low-Fat, High-Protein, Instant, Freeze-Dried, Roasted"),
            (
                0.3,
                "Strawberry-Flavored, Chocolate-Flavored, Vanilla-Flavored, Matcha-Flavored,"
                " Caramel-Flavored,"
                " Mango-Flavored, Spicy, Salted",
            ),
        ),
        uses="Breakfast, Afternoon Tea, Hot Pot, Salads, Baking, Families, Travel",
        specs="g,kg",
        counts="pack,bags,boxes",
        colours=0.0,
    ),
    Category(
        "pets",
        "goods",
        """
Dog Food|狗粮|u@kg; Cat Food|猫粮|u@kg; Dog Treats|狗零食|p@g; Cat Treats|猫零食|p@g; Dog Bed|狗窝|@cm2
Cat Bed|猫窝|@cm2; Cat Tree|猫爬架|@cm; Cat Litter|猫砂|u@kg,litre; Litter Box|猫砂盆; Dog Collar|狗项圈|@cm
Dog Leash|狗牵引绳|@m; Dog Harness|狗胸背带; Pet Carrier|宠物航空箱|@kg; Pet Bowl|宠物碗|@ml
Water Fountain|宠物饮水机|@litre; Pet Feeder|宠物喂食器|@litre; Pet Brush|宠物梳; Pet Shampoo|宠物沐浴露|u@ml
Pet Stroller|宠物推车|@kg; Cat Toy|猫玩具; Dog Toy|狗玩具; Scratching Post|猫抓柱|@cm; Dog Raincoat|狗雨衣
Pet Wipes|宠物湿巾|p@pieces; Fish Tank|鱼缸|@litre; Fish Food|鱼食|u@g; Bird Cage|鸟笼|@cm
Hamster Wheel|仓鼠跑轮|@cm; Hamster Cage|仓鼠笼|@cm; Pet Nail Clipper|宠物指甲剪; Dog Crate|狗笼|@cm
Cat Tunnel|猫隧道|@cm; Pee Pads|宠物尿垫|p@pieces; Aquarium Filter|鱼缸过滤器|@watt; Pet Camera|宠物摄像头
Catnip|猫薄荷|u@g; Poop Bags|拾便袋|p@pieces; Pet Blanket|宠物毯|@cm2; Dog Sweater|狗毛衣
Dog Ramp|宠物坡道|@cm
""",
        (
            (0.3, "Natural, Organic, Grain-Free, High-Protein, Hypoallergenic, Premium"),
            (
                0.35,
                "Waterproof, Washable, Foldable, Adjustable, Automatic, Portable, Chew-Resistant,"
                " Odor-Proof, Silent",
            ),
            (0.2, "Beef-Flavored, Chicken-Flavored, Salmon-Flavored, Tuna-Flavored"),
            (0.3, "Plush, Nylon, Stainless Steel, Ceramic, Plastic, Cotton, Rubber, Wooden, Leather"),
        ),
        features="Bell, Removable Cover, Water Tray, Leash, Safety Buckle, Filter, Wheels, Lid",
        uses="Small Dogs, Large Dogs, Kittens, Adult Cats, Puppies, Senior Dogs, Indoor Cats, Travel",
        counts="pack",
        colours=0.4,
    ),
    Category(
        "baby",
        "goods",
        """
Diapers|纸尿裤|p@pieces; Baby Wipes|婴儿湿巾|p@pieces; Feeding Bottle|奶瓶|@ml; Pacifier|安抚奶嘴; Bib|围嘴
Stroller|婴儿推车; Car Seat|儿童安全座椅; High Chair|宝宝餐椅; Baby Carrier|婴儿背带; Teether|牙胶
Rattle|摇铃; Baby Bathtub|婴儿浴盆; Changing Mat|隔尿垫|@cm2; Swaddle Blanket|包巾|@cm2; Sippy Cup|学饮杯|@ml
Breast Pump|吸奶器; Bottle Warmer|温奶器; Bottle Sterilizer|奶瓶消毒器; Baby Gate|安全门栏|@cm
Baby Walker|学步车; Nursing Pillow|哺乳枕; Diaper Bag|妈咪包|@litre; Potty Chair|儿童坐便器
Baby Swing|婴儿摇摇椅; Corner Guard|防撞角; Romper|连体衣; Baby Booties|婴儿鞋|p; Burp Cloth|拍嗝巾|@cm2
Baby Spoon|婴儿勺; Crib Mobile|床铃; Nursing Cover|哺乳巾; Baby Thermometer|婴儿体温计; Playpen|游戏围栏|@cm2
Snack Cup|零食杯|@ml
""",
        (
            (0.25, "Natural, Organic, Hypoallergenic, Cute, Cartoon"),
            (
                0.4,
                "BPA-Free, Washable, Foldable, Adjustable, Leakproof, Non-Slip, Absorbent, Portable,"
                " Breathable, Ultra-Thin",
            ),
            (0.2, "Electric, Manual, Musical, Magnetic"),
            (0.35, "Cotton, Silicone, Bamboo Fiber, Wooden, Plastic, Borosilicate Glass, Stainless Steel"),
        ),
        features="Handle, Safety Buckle, Rain Cover, Toy Bar, Straw, Lid, Storage Bag, Wheels",
        uses="Newborns, Toddlers, Travel, Daily Use",
        specs="months",
        counts="setof,pack",
        colours=0.5,
    ),
    Category(
        "office",
        "goods",
        """
Notebook|笔记本|@sheets; Ballpoint Pen|圆珠笔|@mm; Gel Pen|中性笔|@mm; Fountain Pen|钢笔|@mm; Pencil|铅笔
Mechanical Pencil|自动铅笔|@mm; Marker Pen|记号笔; Highlighter|荧光笔|@colors
Colored Pencils|彩色铅笔|p@colors; Watercolor Paint|水彩颜料|u@colors; Eraser|橡皮擦; Ruler|直尺|@cm
Scissors|剪刀|p; Stapler|订书机; Staples|订书钉|p@count; Paper Clip|回形针; Sticky Notes|便利贴|p@sheets
Glue Stick|固体胶|@g; Correction Tape|修正带|@m; Pencil Case|笔袋; Pencil Sharpener|卷笔刀; File Folder|文件夹
Document Bag|文件袋; Desk Organizer|桌面收纳盒; Whiteboard|白板|@cm2; Calculator|计算器; Paper Shredder|碎纸机
Copy Paper|复印纸|u@sheets; Envelope|信封; Stamp|印章; Packing Tape|封箱胶带|u@m; Sketchbook|素描本|@sheets
Paint Brush Set|画笔套装; Easel|画架|@cm; Laminator|塑封机; Bookmark|书签; Book Stand|阅读架; Pen Holder|笔筒
Planner|日程本|@sheets; Greeting Card|贺卡; Wrapping Paper|包装纸|u@m; Label Stickers|标签贴纸|p@count
Name Badge|胸卡; Push Pins|图钉|p@count; Canvas Board|油画布|@cm2
""",
        (
            (0.3, "Business, Vintage, Cute, Cartoon, Minimalist, Classic"),
            (
                0.35,
                "Erasable, Spiral-Bound, Hardcover, Refillable, Waterproof, Quick-Dry, Colorful,"
                " Magnetic, Portable",
            ),
            (0.15, "Electric, Manual, Automatic, Self-Adhesive"),
            (0.3, "Leather, Faux Leather, Plastic, Metal, Wooden, Paper, Acrylic, Canvas"),
        ),
        features="Eraser, Ruler, Lock, Index Tabs, Phone Slot, Gift Box, Zipper",
        uses="Students, Teachers, Artists, Office Use, Beginners, Travel",
        counts="setof,pack,boxof",
        audiences="Kids'",
        colours=0.5,
    ),
    Category(
        "car_garden",
        "goods",
        """
Car Charger|车载充电器|@watt; Car Seat Cover|汽车座套; Steering Wheel Cover|方向盘套|@cm; Dash Cam|行车记录仪
Car Vacuum|车载吸尘器|@watt; Tire Inflator|车载充气泵; Jump Starter|汽车应急启动电源|@mah
Car Floor Mat|汽车脚垫; Car Trunk Organizer|后备箱收纳箱|@litre; Windshield Sunshade|遮阳挡|@cm2
Car Air Freshener|车载香水|u@ml; Car Wax|车蜡|u@g; Wiper Blade|雨刮片|@inch; Car Cover|车衣
Car Phone Mount|车载手机支架; Parking Sensor|倒车雷达; Motorcycle Helmet|摩托车头盔; Motor Oil|机油|u@litre
Tow Rope|拖车绳|@m; Snow Chains|防滑链|p; Headlight Bulb|车灯灯泡|@watt; Roof Box|车顶箱|@litre
Garden Hose|花园水管|@m; Watering Can|浇水壶|@litre; Flower Pot|花盆|@cm; Plant Stand|花架|@cm
Pruning Shears|修枝剪|p; Garden Shovel|园艺铲; Rake|耙子|@cm; Lawn Mower|割草机|@watt
Hedge Trimmer|绿篱机|@watt; Sprinkler|洒水器; Garden Gloves|园艺手套|p; Potting Soil|营养土|u@kg,litre
Plant Fertilizer|植物肥料|u@kg; Flower Seeds|花种|p@count; Greenhouse|温室|@m; Garden Light|庭院灯|@lumen
Bird Feeder|喂鸟器; Patio Umbrella|庭院伞|@m; Wheelbarrow|独轮车|@litre; Leaf Blower|吹叶机|@watt
Garden Gnome|花园小矮人|@cm; Hanging Basket|吊篮花盆|@cm; Weed Killer|除草剂|u@ml; Compost Bin|堆肥箱|@litre
""",
        (
            (0.2, "Professional, Household, Heavy-Duty, Mini, Outdoor"),
            (
                0.4,
                "Waterproof, Foldable, Adjustable, Extendable, Non-Slip, Magnetic, Solar, Rustproof,"
                " Wear-Resistant",
            ),
            (0.2, "Cordless, Wireless, Manual, Rechargeable, Automatic"),
            (0.35, "Leather, Rubber, Plastic, Ceramic, Stainless Steel, Aluminum, Nylon, Wooden, Metal"),
        ),
        features=(
            "Hose, Spray Nozzle, Drainage Holes, LED Display, Suction Cup, Wheels, Storage Bag, USB Port"
        ),
        uses="SUVs, Trucks, Winter Driving, Long Trips, Gardens, Balconies, Vegetables, Seedlings",
        counts="setof,pack",
        colours=0.45,
    ),
    Category(
        "music",
        "goods",
        """
Acoustic Guitar|民谣吉他|@inch; Classical Guitar|古典吉他|@inch; Bass Guitar|贝斯; Ukulele|尤克里里|@inch
Violin|小提琴; Cello|大提琴; Flute|长笛; Clarinet|单簧管; Saxophone|萨克斯; Trumpet|小号; Harmonica|口琴
Digital Piano|电钢琴; Keyboard Piano|电子琴; Drum Set|架子鼓; Hand Drum|手鼓|@inch; Guitar Strings|吉他弦|p
Guitar Strap|吉他背带; Guitar Stand|吉他支架; Guitar Pick|吉他拨片; Capo|变调夹; Metronome|节拍器
Drumsticks|鼓棒|p; Accordion|手风琴; Recorder Flute|竖笛; Erhu|二胡; Guzheng|古筝; Bamboo Flute|竹笛
Piano Bench|琴凳; Kalimba|拇指琴; Harp|竖琴; Xylophone|木琴; Tambourine|铃鼓
""",
        (
            (0.3, "Professional, Beginner, Classic, Vintage, Handmade, Mini"),
            (0.25, "Portable, Foldable, Full-Size, Lightweight, Adjustable"),
            (0.35, "Solid Wood, Walnut, Metal, Copper, Plastic, Leather, Nylon, Carbon Fiber"),
        ),
        features="Carrying Case, Tuner, Music Stand, Stand, Adjustable Strap, Gift Box",
        uses="Beginners, Students, Concerts, Practice, Travel",
        counts="setof,pack",
        audiences="Kids'",
        colours=0.45,
    ),
)
