"""The decoders that FFmpeg and PyAV may use (`codec_whitelist`).

Rule: codecs that cameras, telephones, editors, archives and screen recorders put into the accepted containers; not
formats of games, text art and consoles, whose decoders are not maintained. Names are of decoders, not of codecs; a name
that an FFmpeg lacks does no harm.
"""

_PICTURES = """
h264 hevc vvc av1 libdav1d libaom-av1 vp9 libvpx-vp9 vp8 libvpx vp7 vp6 vp6a vp6f vp5 vp4 vp3 theora
mpeg1video mpeg2video mpegvideo mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4 wmv1 wmv2 wmv3 wmv3image vc1 vc1image mss1 mss2 mts2
h261 h263 h263i h263p flv flashsv flashsv2 svq1 svq3 rv10 rv20 rv30 rv40 rv60 cavs libdavs2 libuavs3d evc dirac
mjpeg mjpegb amv sp5x jpegls jpeg2000 libopenjpeg libjxl libjxl_anim png apng bmp gif tiff webp webp_anim apv
targa qdraw dvvideo dnxhd prores prores_raw cfhd aic pixlet hap hq_hqa hqx speedhq dxv notchlc media100 vbn
rawvideo v210 v210x v308 v408 v410 r210 r10k yuv4 y41p avrn avrp avui ayuv bitpacked
ffv1 ffvhuff huffyuv hymt utvideo lagarith magicyuv sheervideo ylc vble cllc snow loco zerocodec
cinepak indeo2 indeo3 indeo4 indeo5 msvideo1 msrle msp2 qtrle rpza smc 8bps asv1 asv2 cljr aura aura2 vcr1
ultimotion wnv1 truemotion1 truemotion2 mimic xl mszh zlib qpeg kgv1 mvc1 mvc2 mvdv mvha mv30 imm4 imm5 clearvideo
camtasia tscc2 camstudio zmbv fraps g2m vmnc wcmv screenpresso scpr rscc mwsc rasc fmvc agm lead
cyuv dxtory fic mxpeg 012v vqc aasc msa1 mscc lscr srgc libopenh264
"""

_SOUND = """
aac aac_fixed aac_latm libfdk_aac ac3 ac3_fixed eac3 truehd mlp dca dolby_e s302m als
mp1 mp1float mp2 mp2float mp3 mp3float mp3adu mp3adufloat mp3on4 mp3on4float
alac flac opus libopus vorbis libvorbis speex libspeex tta wavpack ape tak shorten
amrnb amrwb libopencore_amrnb libopencore_amrwb qcelp qdm2 qdmc mace3 mace6 nellymoser
gsm gsm_ms libgsm libgsm_ms truespeech g722 g723_1 g726 g726le g729 ilbc comfortnoise siren sbc aptx aptx_hd adpcm_ct
wmav1 wmav2 wmapro wmalossless wmavoice cook real_144 real_288 sipr ralf atrac1 atrac3 atrac3al atrac3plus atrac3plusal
dvaudio imc iac on2avc metasound
adpcm_ima_wav adpcm_ima_qt adpcm_ms adpcm_yamaha adpcm_swf adpcm_ima_amv adpcm_sbpro_2 adpcm_sbpro_3 adpcm_sbpro_4
pcm_alaw pcm_mulaw pcm_vidc pcm_bluray pcm_dvd pcm_lxf pcm_sga
pcm_s8 pcm_s8_planar pcm_u8 pcm_s16le pcm_s16be pcm_s16le_planar pcm_s16be_planar pcm_u16le pcm_u16be
pcm_s24le pcm_s24be pcm_s24daud pcm_s24le_planar pcm_u24le pcm_u24be pcm_s32le pcm_s32be pcm_s32le_planar
pcm_u32le pcm_u32be pcm_s64le pcm_s64be pcm_f16le pcm_f24le pcm_f32le pcm_f32be pcm_f64le pcm_f64be
"""

PICTURE_DECODERS = ",".join(_PICTURES.split())
"""The decoders of pictures. A decoder of AAC takes 700 KB as soon as a file with such a track is opened, and a file may
have a thousand."""

DECODERS = ",".join((PICTURE_DECODERS, *_SOUND.split()))
"""The names, as the option `codec_whitelist` takes them."""
