"""Default texts for int8 calibration and the quality gate: shop titles, support and everyday sentences.

Written for this project. Texts of your own domain calibrate better; give them with ``--calibration FILE``
(:mod:`predictor.builder.int8.prompts`).
"""

from __future__ import annotations

from collections.abc import Mapping

_ENGLISH = """
Men's Waterproof Hiking Boots, Size 44, Brown
Blue Ceramic Coffee Mug with Lid, 420ml
Set of 6 Stainless Steel Forks
Wireless Noise-Cancelling Headphones with Charging Case
Kids' Cotton Striped Pajamas, Size M
Foldable Laptop Stand for Travel, Silver
Portable Electric Kettle, 0.8L, White
Women's Wool Turtleneck Sweater, Burgundy
LED Desk Lamp with USB Port and Timer
Non-Stick Cast Iron Frying Pan, 28cm
Soft Bamboo Fiber Towels, 4-Pack, Light Gray
Rechargeable Bicycle Light with Clips
Organic Green Tea, 250g, 3-Pack
Compact Umbrella, Windproof, Navy Blue
Handmade Leather Wallet with Card Slots
Magnetic Phone Holder for Cars, Compatible with Nordal X9
Large Solid Wood Cutting Board, 45cm
Hydrating Face Cream with Hyaluronic Acid, 50ml
Adjustable Yoga Mat Strap, Purple
Digital Kitchen Scale KS-210, 5kg
Brentano Mechanical Gaming Keyboard with Wrist Rest
Insulated Stainless Steel Water Bottle, 750ml, Mint Green
Baby Silicone Bibs with Pockets, 2-Pack
Outdoor Camping Tent for 4 People, Olive Green
Where is my order 88120457?
When will the desk lamp be back in stock?
You can return the hiking boots within 30 days.
Order 88120460 was shipped on March 3.
The package arrived damaged.
Is this product in stock?
Stainless Steel Garlic Press with Handle, Silver
I want to exchange this item.
Kids' Waterproof Rain Jacket with Hood, Size 120, Yellow
Glass Food Storage Box with Lid, 1.2L, 3-Pack
Please send me the invoice.
Solar Garden Light, 4-Pack
Women's Breathable Running Shoes, Size 38, Light Blue
Wooden Jewelry Box with Mirror and Drawers
Could you please speak a little more slowly?
If it rains tomorrow, we will visit the museum instead.
"""

_CHINESE = """
黑色男士防水登山鞋 43码
带盖的绿色陶瓷茶杯 300毫升
不锈钢餐勺8件套
带充电盒的无线蓝牙耳机
粉色儿童纯棉连衣裙 M码
适合旅行的可折叠收纳袋
便携式电动榨汁机 350毫升
藏青色女士羊毛围巾
带定时器的智能空气净化器
铸铁汤锅 24厘米
柔软吸水浴巾 2件装
可充电露营灯
有机绿茶 500克 2件装
防风折叠雨伞 红色
带拉链的手工真皮手提包
适用于 Nordal X9 的磁吸手机支架
实木餐桌 120厘米
补水保湿面膜 30毫升 10件装
带收纳袋的防滑瑜伽垫
数显厨房秤 KS-310 3公斤
Brentano 带腕托的电竞机械键盘
保温不锈钢水杯 500毫升 米白色
婴儿硅胶围兜 3件装
适合露营的四通户外帐篷
我的订单88120459在哪里？
台灯什么时候补货？
登山鞋可在30天内退货。
订单88120461已于3月3日发货。
包裹到货时已经损坏。
这款商品有货吗？
带手柄的不锈钢压蒜器 银色
我想换货。
带帽子的黄色儿童防水雨衣 120码
带盖的玻璃保鲜盒 1.2升 3件装
请把发票发给我。
太阳能花园灯 4件装
浅蓝色女士透气跑鞋 38码
带镜子和抽屉的木质首饰盒
请您说得慢一点，好吗？
如果明天下雨，我们就去参观博物馆。
"""

_GERMAN = """
Wasserdichte Wanderschuhe für Herren, Größe 44, braun
Kaffeebecher aus Keramik mit Deckel, 420 ml
Kabellose Kopfhörer mit Ladeetui
Klappbarer Laptopständer für unterwegs, silber
Wollpullover für Damen mit Rollkragen
Schreibtischlampe mit USB-Anschluss und Timer
Handtücher aus Bambusfaser, 4er-Pack
Digitale Küchenwaage KS-210, 5 kg
Wo ist meine Bestellung 88120457?
Sie können die Schuhe innerhalb von 30 Tagen zurückgeben.
Das Paket kam beschädigt an.
Ich möchte es gegen eine größere Größe umtauschen.
Wir öffnen um neun Uhr und schließen um sechs.
Wenn es morgen regnet, gehen wir ins Museum.
Die neue Version ist schneller und braucht weniger Speicher.
Biegen Sie an der Brücke links ab und folgen Sie dem Fluss.
"""

_FRENCH = """
Chaussures de randonnée imperméables pour homme, taille 44, marron
Tasse à café en céramique avec couvercle, 420 ml
Casque sans fil avec étui de recharge
Support pliable pour ordinateur portable, argenté
Pull en laine à col roulé pour femme
Lampe de bureau avec port USB et minuteur
Serviettes en fibre de bambou, lot de 4
Balance de cuisine numérique KS-210, 5 kg
Où est ma commande 88120457 ?
Vous pouvez renvoyer les chaussures sous 30 jours.
Le colis est arrivé endommagé.
Je voudrais l'échanger contre une taille plus grande.
Nous ouvrons à neuf heures et fermons à dix-huit heures.
S'il pleut demain, nous irons au musée.
La nouvelle version est plus rapide et utilise moins de mémoire.
Tournez à gauche au pont et suivez la rivière.
"""

_SPANISH = """
Botas de montaña impermeables para hombre, talla 44, marrón
Taza de café de cerámica con tapa, 420 ml
Auriculares inalámbricos con estuche de carga
Soporte plegable para portátil, plateado
Jersey de lana de cuello alto para mujer
Lámpara de escritorio con puerto USB y temporizador
Toallas de fibra de bambú, paquete de 4
Báscula de cocina digital KS-210, 5 kg
¿Dónde está mi pedido 88120457?
Puede devolver las botas en un plazo de 30 días.
El paquete llegó dañado.
Me gustaría cambiarlo por una talla más grande.
Abrimos a las nueve y cerramos a las seis.
Si mañana llueve, iremos al museo.
La nueva versión es más rápida y usa menos memoria.
Gire a la izquierda en el puente y siga el río.
"""

_JAPANESE = """
メンズ防水ハイキングブーツ 27cm ブラウン
ふた付き陶器コーヒーマグ 420ml
充電ケース付きワイヤレスイヤホン
折りたたみ式ノートパソコンスタンド シルバー
レディース ウール タートルネックセーター
USBポートとタイマー付きデスクライト
竹繊維タオル 4枚セット
デジタルキッチンスケール KS-210 5kg
注文88120457は今どこにありますか。
商品は30日以内に返品できます。
届いた荷物が破損していました。
大きいサイズに交換したいのですが。
営業時間は午前九時から午後六時までです。
明日雨が降ったら、博物館に行きます。
新しいバージョンは速く、メモリの使用量も少なくなりました。
橋を左に曲がって、川沿いに進んでください。
"""

SAMPLE_TEXTS: Mapping[str, tuple[str, ...]] = {
    language: tuple(texts.strip().splitlines())
    for language, texts in (
        ("en", _ENGLISH),
        ("zh", _CHINESE),
        ("de", _GERMAN),
        ("fr", _FRENCH),
        ("es", _SPANISH),
        ("ja", _JAPANESE),
    )
}
"""Texts by primary language subtag; ``zh`` is also used for ``zh-Hant``."""


def sample_texts(language: str) -> tuple[str, ...]:
    """The sample texts of a language; empty if there are none.

    Args:
        language: a tag, for example ``pt-BR``.
    """
    return SAMPLE_TEXTS.get(language.split("-")[0].lower(), ())
