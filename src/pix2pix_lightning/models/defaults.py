"""The parts of the paper: U-Net 256, 70x70 PatchGAN, their losses and optimizers (sections 3.3 and 6.1)."""

UNET_256 = {"_target_": "pix2pix_lightning.networks.UNetGenerator"}
PATCH_70 = {"_target_": "pix2pix_lightning.networks.PatchDiscriminator"}
VANILLA = {"_target_": "pix2pix_lightning.losses.VanillaAdversarial"}
L1 = {"l1": {"_target_": "torch.nn.L1Loss"}}
ADAM = {"_target_": "torch.optim.Adam", "lr": 2e-4, "betas": [0.5, 0.999]}
